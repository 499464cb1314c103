"""Pickled dictionaries of arrays, read without running what a pickle may ask for."""

import mmap
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, cast, final

import numpy as np

from rgo_bench.data.pickled_parts import (
    ARRAY_CLASS,
    PickledArray,
    dtype_of,
    encode_latin1,
    from_buffer,
    reconstruct,
)

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


def read_array_pickle(path: Path, *, largest: int) -> dict[str, Any]:
    """Read a pickled dictionary of NumPy arrays and plain values.

    No function that the pickle names is called and no class of it is made: the four
    functions and two classes that pickled arrays name have stand-ins here, which
    check what they are given, and every other name is refused.

    Parameters
    ----------
    path : Path
        A pickle of protocol 2 to 5, of Python 2 or 3.
    largest : int
        The bytes that the file may have.

    Returns
    -------
    dict
        The content, keys as text, in inner dictionaries too. Arrays may be read-only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty or too large, is no pickle, names something that arrays
        do not need, or holds something else than a dictionary.

    Notes
    -----
    Takes about as much memory as the file has bytes.
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


@final
class _StandIn:
    """A function that a pickle can call, and cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a state for a function")


def _check_opcodes(content: IO[bytes]) -> None:
    """Refuse instructions that arrays do not need, before any is followed."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in _ALLOWED:
            raise pickle.UnpicklingError(f"the forbidden instruction {opcode.name}")
        # The unpickler makes room for every number below, used or not.
        if opcode.name in _PUTS and cast("int", argument) > count:
            raise pickle.UnpicklingError(f"the memo number {argument} out of turn")


def _plain(content: object, *, inner: bool = False) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise TypeError(f"a {type(content).__name__} in place of a dictionary")
    plain: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, PickledArray):
            value = value.array
        elif isinstance(value, dict) and not inner:
            value = _plain(value, inner=True)
        plain[_text(key)] = value
    return plain


def _text(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("utf-8")
    if not isinstance(key, str):
        raise TypeError(f"a key of type {type(key).__name__} in place of text")
    return key


def _stand_ins() -> dict[tuple[str, str], object]:
    names: dict[tuple[str, str], object] = {
        ("numpy", "ndarray"): ARRAY_CLASS,
        ("numpy", "dtype"): _StandIn(dtype_of),
        ("_codecs", "encode"): _StandIn(encode_latin1),
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _StandIn(reconstruct)
        names[f"{core}.numeric", "_frombuffer"] = _StandIn(from_buffer)
    return names


_STAND_INS: Final = MappingProxyType(_stand_ins())
