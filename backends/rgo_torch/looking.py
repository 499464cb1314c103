"""Contexts that put something in place for a while, and may close in any order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Looks(Generic[T]):
    """The contexts that are open: what the last one opened asked for is in place.

    Two generators that each hold a context close it in the order in which they are
    used up, which need not be that of a stack.

    Parameters
    ----------
    current : callable
        Returns what is in place.
    put : callable
        Puts it in place.
    """

    def __init__(self, current: Callable[[], T], put: Callable[[T], None]) -> None:
        self._current, self._put = current, put
        self._open: dict[object, T] = {}
        self._home: T | None = None  # what was in place before the first was opened

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def home(self) -> T:
        """What is in place outside of every context."""
        return self._current() if self._home is None else self._home

    @contextmanager
    def at(self, value: T) -> Iterator[None]:
        """Have a value in place inside the context."""
        key, self._home = object(), self.home
        self._open[key] = value
        try:
            self._put(value)
            yield
        finally:
            if key in self._open:
                del self._open[key]
                self._put(next(reversed(self._open.values()), self._home))
                if not self._open:
                    self._home = None

    def close(self) -> None:
        """Put back what was in place before, for good: open contexts change nothing."""
        if self._open:
            self._open.clear()
            self._put(self.home)
            self._home = None
