"""Contexts that put something in place for a while, and may close in any order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Looks(Generic[T]):
    """The contexts that are open: what the last one opened asked for is in place.

    Two generators that each hold a context close it in the order in which they are
    used up, which need not be that of a stack.

    It keeps none of the functions that it is given: who has one of these is then in no
    cycle with it, and gone with its last reference.
    """

    def __init__(self) -> None:
        self._open: dict[object, T] = {}
        self._home: T | None = None  # what was in place before the first was opened

    def home(self, current: Callable[[], T]) -> T:
        """Return what is in place outside of every context."""
        return self._home if self._open and self._home is not None else current()

    @contextmanager
    def at(
        self, value: T, current: Callable[[], T], put: Callable[[T], None]
    ) -> Iterator[None]:
        """Have a value in place inside the context.

        Parameters
        ----------
        value : object
        current : callable
            Returns what is in place.
        put : callable
            Puts it in place.
        """
        key, home = object(), self.home(current)
        self._open[key], self._home = value, home
        try:
            put(value)
            yield
        finally:
            if key in self._open:
                del self._open[key]
                put(next(reversed(self._open.values()), home))

    def close(self, put: Callable[[T], None]) -> None:
        """Put back what was in place before, for good: open contexts change nothing."""
        if self._open:
            self._open.clear()
            assert self._home is not None
            put(self._home)
