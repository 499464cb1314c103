"""What pickles of NumPy arrays are made of, each part checked when it is made.

These stand in for NumPy's own functions, some of which would allocate whatever a
hostile pickle asks for.
"""

import math
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

ARRAY_CLASS: Final = object()  # in the place of numpy.ndarray: it cannot be called

_TYPES: Final = {"u1": np.uint8, "i4": np.int32, "i8": np.int64}


@final
class PickledType:
    """The element type of a pickled array."""

    __slots__ = ("type",)

    def __init__(self, name: str) -> None:
        self.type = np.dtype(_TYPES[name])

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 8:
            raise ValueError("an element type with a state of another form")
        order = _text(state[1])
        if order not in ("|", "<"):
            raise ValueError(f"elements of the byte order {order!r}, not '<'")
        self.type = self.type.newbyteorder("<")


@final
class PickledArray:
    """A pickled array, which gets its content after it is made."""

    __slots__ = ("_array",)

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    @property
    def array(self) -> NDArray[Any]:
        """The array; read-only where its bytes are."""
        return self._array

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array with a state of another form")
        _, shape, dtype, columns_first, content = state
        self._array = _array(content, dtype, shape, "F" if columns_first else "C")


def reconstruct(array_class: object, shape: object, code: object) -> PickledArray:
    """Stand in for ``numpy.core.multiarray._reconstruct``: an array to be filled."""
    if array_class is not ARRAY_CLASS or shape != (0,):
        raise ValueError("an array that does not begin empty")
    return PickledArray(np.empty(0, np.uint8))


def dtype_of(name: object, align: object = False, copy: object = False) -> PickledType:
    """Stand in for ``numpy.dtype``."""
    name = _text(name)
    if name not in _TYPES:
        raise ValueError(f"elements of the type {name!r}, not {', '.join(_TYPES)}")
    return PickledType(name)


def from_buffer(
    content: object, dtype: object, shape: object, order: object
) -> PickledArray:
    """Stand in for ``numpy.core.numeric._frombuffer``, which protocol 5 names."""
    return PickledArray(_array(content, dtype, shape, _text(order)))


def encode_latin1(text: object, encoding: object) -> bytes:
    """Stand in for ``_codecs.encode``, with which Python 3 writes bytes for Python 2.

    Only of the one encoding: others call functions that anyone may register.
    """
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ValueError("text that is not encoded as latin1")
    return text.encode("latin1")


def _array(content: object, dtype: object, shape: object, order: str) -> NDArray[Any]:
    if not isinstance(dtype, PickledType) or not isinstance(content, bytes | bytearray):
        raise ValueError("an array without an element type or without bytes")
    if not isinstance(shape, tuple) or not all(
        type(n) is int and n >= 0 for n in shape
    ):
        raise ValueError("an array with a shape that is none")
    if order not in ("C", "F"):
        raise ValueError(f"an array in the order {order!r}")
    expected = math.prod(shape) * dtype.type.itemsize
    if len(content) != expected:
        raise ValueError(
            f"an array of the shape {shape} with {len(content)} bytes in place of "
            f"{expected}"
        )
    flat = np.frombuffer(content, dtype.type)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _text(name: object) -> str:
    if isinstance(name, bytes):
        return name.decode("ascii")
    # No text of other objects: a hostile one may be nested too deep to be shown.
    if not isinstance(name, str):
        raise ValueError(f"a {type(name).__name__} in place of text")
    return name
