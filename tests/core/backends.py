"""The array namespaces that every law is held on.

A case is drawn once, in NumPy, and goes through `Backend.call`: converted there, and
back, so that hypothesis shrinks it and every backend sees the same numbers.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace, is_array_api_obj

BACKENDS = ("numpy", "array_api_strict", "torch", "jax")


@dataclass(frozen=True)
class Backend:
    """A namespace, with the way into it from NumPy and back."""

    name: str
    xp: Any

    def array(self, value: np.ndarray) -> Any:
        """Copy a NumPy array into the namespace; read-only where there is such."""
        value = np.array(value)
        if self.name == "numpy":
            value.flags.writeable = False
            return value
        return self.xp.asarray(value)

    def convert(self, value: Any) -> Any:
        """Convert the NumPy arrays of a tree of tuples."""
        return map_tree(value, self.array)

    def to_numpy(self, value: Any) -> Any:
        """Convert the arrays of a tree of tuples to NumPy."""
        return map_tree(value, np.asarray)

    def dtype(self, name: str) -> Any:
        """Return the dtype of that name."""
        return getattr(self.xp, name)

    def call(
        self, function: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Any:
        """Call a function here: NumPy in, NumPy out, and no argument written to."""
        here = tuple(self.convert(value) for value in arguments)
        named = {name: self.convert(value) for name, value in options.items()}
        result = function(*here, **named)
        for array in leaves(result):
            assert array_namespace(array) is self.xp
        before = leaves((*arguments, *options.values()))
        after = leaves((*here, *named.values()))
        for given, left in zip(before, after, strict=True):
            np.testing.assert_array_equal(np.asarray(left), np.asarray(given))
        return self.to_numpy(result)


@contextlib.contextmanager
def open_backend(name: str) -> Iterator[Backend]:
    """Yield a backend, with float64 enabled while it is open."""
    module = pytest.importorskip(name)
    with contextlib.ExitStack() as stack:
        if name == "jax":
            stack.enter_context(module.enable_x64(True))
            module = importlib.import_module("jax.numpy")
        yield Backend(name, array_namespace(module.zeros(1)))


def map_tree(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Apply `leaf` to the arrays of a tree of tuples."""
    if isinstance(value, tuple):
        children = [map_tree(child, leaf) for child in value]
        return type(value)(*children) if hasattr(value, "_fields") else tuple(children)
    # NumPy's scalar types, which stand for dtypes, pass for arrays.
    is_array = is_array_api_obj(value) and not isinstance(value, type)
    return leaf(value) if is_array else value


def leaves(value: Any) -> list[Any]:
    """List the arrays of a tree of tuples."""
    found: list[Any] = []
    map_tree(value, found.append)
    return found
