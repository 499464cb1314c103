"""Pickled dictionaries of arrays, read without running what a pickle may ask for."""

import math
import mmap
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, cast, final

import numpy as np
from numpy.typing import NDArray

# Everything that a pickle of arrays, bytes, text, numbers, lists and dictionaries
# needs: what protocols 2 to 5 write, of Python 2 and 3.
_INSTRUCTIONS: Final = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8
    SHORT_BINUNICODE BINUNICODE BINUNICODE8 EMPTY_LIST APPEND APPENDS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM SETITEMS
    GLOBAL STACK_GLOBAL REDUCE BUILD BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE
"""
_ALLOWED: Final = frozenset(_INSTRUCTIONS.split())
_PUTS: Final = ("BINPUT", "LONG_BINPUT")
# What a broken or hostile pickle makes the unpickler raise.
_FAILURES: Final = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)
_TYPES: Final = {"u1": np.uint8, "i4": np.int32, "i8": np.int64}
ARRAY_CLASS: Final = object()  # in the place of numpy.ndarray: it cannot be called


def read_array_pickle(path: Path, *, largest: int) -> dict[str, Any]:
    """Read a dictionary of NumPy arrays and plain values, of protocol 2 to 5.

    No function that the pickle names is called and no class of it is made: the four
    functions and two classes that pickled arrays name have stand-ins here, which
    check what they are given, and every other name is refused. NumPy's own would
    allocate whatever a hostile pickle asks for.

    Keys become text, in inner dictionaries too. Arrays may be read-only. Takes about as
    much memory as the file has bytes; one of more than `largest` is not read.
    """
    size = path.stat().st_size
    if not 0 < size <= largest:
        raise ValueError(
            f"{path}: expected a pickle of 1 to {largest} bytes, got {size} bytes"
        )
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        try:
            _check_opcodes(cast("IO[bytes]", content))
            content.seek(0)
            unpickler = _Unpickler(cast("IO[bytes]", content), encoding="bytes")
            return _plain(unpickler.load())
        except _FAILURES as error:
            raise ValueError(
                f"{path}: expected a pickled dictionary of arrays, got a file that is "
                f"broken or asks for more: {error}"
            ) from error


def described(value: object) -> str:
    """Return what a value in a pickle is, for an error that it is something else."""
    if isinstance(value, np.ndarray):
        return f"an array of {' x '.join(map(str, value.shape))} {value.dtype}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "none" if value is None else f"a {type(value).__name__}"


def _check_opcodes(content: IO[bytes]) -> None:
    """Refuse instructions that arrays do not need, before any is followed."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in _ALLOWED:
            raise pickle.UnpicklingError(f"the forbidden instruction {opcode.name}")
        # The unpickler makes room for every number below, used or not.
        if opcode.name in _PUTS and cast("int", argument) > count:
            raise pickle.UnpicklingError(f"the memo number {argument} out of turn")


@final
class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """Return the stand-in of a name."""
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the forbidden name {module}.{name}"
            ) from None


def _plain(content: object, *, inner: bool = False) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise TypeError(f"a {type(content).__name__} in place of a dictionary")
    plain: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, PickledArray):
            value = value.array
        elif isinstance(value, dict) and not inner:
            value = _plain(value, inner=True)
        plain[_text(key, "a key of type")] = value
    return plain


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

    __slots__ = ("array",)

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # read-only where its bytes are

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array with a state of another form")
        _, shape, dtype, columns_first, content = state
        self.array = _array(content, dtype, shape, "F" if columns_first else "C")


@final
class _StandIn:
    """A function that a pickle can call, and cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a state for a function")


@_StandIn
def reconstruct(array_class: object, shape: object, code: object) -> PickledArray:
    """Stand in for ``numpy.core.multiarray._reconstruct``: an array to be filled."""
    if array_class is not ARRAY_CLASS or shape != (0,):
        raise ValueError("an array that does not begin empty")
    return PickledArray(np.empty(0, np.uint8))


@_StandIn
def dtype_of(name: object, align: object = False, copy: object = False) -> PickledType:
    """Stand in for ``numpy.dtype``."""
    name = _text(name)
    if name not in _TYPES:
        raise ValueError(f"elements of the type {name!r}, not {', '.join(_TYPES)}")
    return PickledType(name)


@_StandIn
def from_buffer(
    content: object, dtype: object, shape: object, order: object
) -> PickledArray:
    """Stand in for ``numpy.core.numeric._frombuffer``, which protocol 5 names."""
    return PickledArray(_array(content, dtype, shape, _text(order)))


@_StandIn
def encode_latin1(text: object, encoding: object) -> bytes:
    """Stand in for ``_codecs.encode``, with which Python 3 writes bytes for Python 2.

    Only of the one encoding: others call functions that anyone may register.
    """
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ValueError("text that is not encoded as latin1")
    return text.encode("latin1")


# The module that has the functions changed its name with NumPy 2.
_STAND_INS: Final = MappingProxyType(
    {
        ("numpy", "ndarray"): ARRAY_CLASS,
        ("numpy", "dtype"): dtype_of,
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        ("numpy.core.numeric", "_frombuffer"): from_buffer,
        ("numpy._core.numeric", "_frombuffer"): from_buffer,
        ("_codecs", "encode"): encode_latin1,
    }
)


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


def _text(value: object, kind: str = "a") -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    # No text of other objects: a hostile one may be nested too deep to be shown.
    if not isinstance(value, str):
        raise TypeError(f"{kind} {type(value).__name__} in place of text")
    return value
