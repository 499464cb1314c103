import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.small_archives import python2_pickle
from numpy.typing import NDArray

from rgo_bench.data.array_pickle import described, read_array_pickle

LARGE = 10**6
ARRAYS = {
    "bytes": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "columns": np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
    "int32": np.array([-1, 7], np.int32),
}


def read(folder: Path, content: bytes, largest: int = LARGE) -> dict[str, Any]:
    path = folder / "some.pkl"
    path.write_bytes(content)
    return read_array_pickle(path, largest=largest)


def assert_refused(folder: Path, content: bytes, reason: str) -> None:
    message = (
        f"{folder / 'some.pkl'}: expected a pickled dictionary of arrays, got a file "
        f"that is broken or asks for more: {reason}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read(folder, content)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_protocol_are_read(
    protocol: int, name: str, tmp_path: Path
) -> None:
    found = read(tmp_path, pickle.dumps({name: ARRAYS[name]}, protocol))
    np.testing.assert_array_equal(found[name], ARRAYS[name], strict=True)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_arrays_of_numpy_1_and_2_are_read(
    core: bytes, protocol: int, tmp_path: Path
) -> None:
    written = pickle.dumps({"bytes": ARRAYS["bytes"]}, protocol)
    content = re.sub(rb"numpy\._?core", core, written)
    assert core in content
    np.testing.assert_array_equal(read(tmp_path, content)["bytes"], ARRAYS["bytes"])


def test_what_python_2_wrote_is_read_as_pickle_itself_reads_it(tmp_path: Path) -> None:
    content = python2_pickle({"data": ARRAYS["bytes"], "labels": [3, -1, 70_000]})
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found["data"], ARRAYS["bytes"], strict=True)
    assert found["labels"] == [3, -1, 70_000]
    modern = content.replace(b"numpy.core", b"numpy._core")
    expected = pickle.loads(modern, encoding="bytes")
    np.testing.assert_array_equal(found["data"], expected[b"data"], strict=True)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_and_an_inner_dictionary_are_read(
    protocol: int, tmp_path: Path
) -> None:
    content = {
        "a": [1, 2**40, "text", b"bytes", None, True, 0.5, ()],
        "rows": {"n01": [0, 1], "n02": np.arange(2)},
    }
    found = read(tmp_path, pickle.dumps(content, protocol))
    assert found["a"] == content["a"]
    assert found["rows"]["n01"] == [0, 1]
    assert found["rows"]["n02"].tolist() == [0, 1]


def test_keys_of_python_2_are_text_in_inner_dictionaries_too(tmp_path: Path) -> None:
    found = read(tmp_path, pickle.dumps({b"rows": {b"n01": [0]}}))
    assert found == {"rows": {"n01": [0]}}


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


CALLS: list[tuple[Calls, str]] = [
    (Calls(os.system, "touch {mark}"), f"{os.name}.system"),
    (Calls(eval, "open('{mark}', 'w')"), "builtins.eval"),
    (Calls(exec, "open('{mark}', 'w')"), "builtins.exec"),
    (Calls(open, "{mark}", "w"), "open"),
    (Calls(getattr, "text", "format"), "builtins.getattr"),
    (Calls(bytes, 10**15), "builtins.bytes"),
    (Calls(bytearray, 10**15), "builtins.bytearray"),
    (Calls(np.zeros, 10**15), "numpy.zeros"),
    (Calls(np.load, "{mark}"), "numpy.load"),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(("call", "name"), CALLS)
def test_a_function_that_arrays_do_not_need_is_named_and_not_called(
    call: Calls, name: str, protocol: int, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    function, arguments = call.call
    filled = (a.format(mark=mark) if isinstance(a, str) else a for a in arguments)
    content = pickle.dumps({"data": Calls(function, *filled)}, protocol)
    with pytest.raises(ValueError, match="asks for more: the forbidden name") as caught:
        read(tmp_path, content)
    # Of Python 2 and for its own C functions, pickles write other names of the module.
    assert str(caught.value).endswith(name.rpartition(".")[2])
    assert not mark.exists()


def test_the_hostile_pickle_would_have_run_elsewhere(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps({"data": Calls(os.system, f"touch {mark}")})
    with pytest.raises(ValueError, match=rf"the forbidden name {os.name}\.system"):
        read(tmp_path, content)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()


def named(module: str, name: str) -> bytes:
    """The instructions that push what a module calls by a name, dotted or not."""
    texts = (text.encode() for text in (module, name))
    return b"".join(b"\x8c" + bytes([len(t)]) + t for t in texts) + b"\x93"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy._core.multiarray", "_reconstruct.__class__"),
        ("numpy", "ndarray.__reduce__"),
        ("numpy", "dtype.__class__.__base__.__subclasses__"),
        ("_codecs", "encode.__self__"),
        ("_codecs", "lookup"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.multiarray.os", "system"),
        ("rgo_bench.data.array_pickle", "PickledArray"),
        ("", ""),
    ],
)
def test_a_name_within_what_is_allowed_is_refused(
    module: str, name: str, tmp_path: Path
) -> None:
    content = b"\x80\x04}\x8c\x01a" + named(module, name) + b"s."
    assert_refused(tmp_path, content, f"the forbidden name {module}.{name}")


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
ENCODE = b"c_codecs\nencode\n"
UINT8 = DTYPE + b"U\x02u1\x85R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
EMPTY = RECONSTRUCT + NDARRAY + b"K\x00\x85U\x01b\x87R"


def value(instructions: bytes) -> bytes:
    """A dictionary of one value, with protocol 2."""
    return b"\x80\x02}U\x01a" + instructions + b"s."


def filled(shape: bytes, dtype: bytes = UINT8, rest: bytes = b"\x89U\x02ab") -> bytes:
    """An array with this state."""
    return value(EMPTY + b"(K\x01" + shape + dtype + rest + b"tb")


def test_the_parts_of_the_hostile_arrays_are_those_of_a_good_one(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, filled(b"K\x02\x85"))["a"].tolist() == [97, 98]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        # Arrays larger than their bytes, which NumPy would allocate.
        (
            value(RECONSTRUCT + NDARRAY + b"\x8a\x06\0\0\0\0\0\x01\x85U\x01b\x87R"),
            "an array that does not begin empty",
        ),
        (
            value(RECONSTRUCT + DTYPE + b"K\x00\x85U\x01b\x87R"),
            "an array that does not begin empty",
        ),
        (
            filled(b"\x8a\x06\0\0\0\0\0\x01\x85"),
            "an array of the shape (1099511627776,) with 2 bytes in place of 1099511",
        ),
        (filled(b"J\xff\xff\xff\xff\x85"), "an array with a shape that is none"),
        (filled(b"K\x02"), "an array with a shape that is none"),
        (filled(b"K\x00\x8a\x09" + b"\x7f" * 9 + b"\x86", rest=b"\x89U\0"), ""),
        (filled(b"K\x02\x85", dtype=b"N"), "an array without an element type"),
        (filled(b"K\x02\x85", rest=b"\x89]"), "an array without an element type or w"),
        (value(EMPTY + b"K\x01\x85b"), "an array with a state of another form"),
        (value(EMPTY + b"}U\x05arrayK\x01sb"), "an array with a state of another form"),
        # Elements that are objects, or records of them.
        (value(DTYPE + b"U\x01O\x85R"), "elements of the type 'O', not u1, i4, i8"),
        (value(DTYPE + b"U\x05u1,O4\x85R"), "elements of the type 'u1,O4', not u1"),
        (value(DTYPE + b"]\x85R"), "a list in place of text"),
        (
            filled(b"K\x01\x85", dtype=UINT8.replace(b"|", b">")),
            "elements of the byte order '>', not '<'",
        ),
        (
            value(DTYPE + b"U\x02u1\x85RK\x01\x85b"),
            "an element type with a state of another form",
        ),
        # Functions called or changed in other ways.
        (
            value(NDARRAY + b"\x8a\x06\0\0\0\0\0\x01\x85\x85R"),
            "'object' object is not c",
        ),
        (
            value(ENCODE + b"X\x01\0\0\0aU\x03zip\x86R"),
            "text that is not encoded as la",
        ),
        (
            value(ENCODE + b"K\x01U\x06latin1\x86R"),
            "text that is not encoded as latin1",
        ),
        (value(ENCODE + b"}U\x08__code__Nsb"), "a state for a function"),
        (value(ENCODE + b"N}U\x0c__defaults__Ns\x86b"), "a state for a function"),
        (value(NDARRAY + b"}U\x01aNsb"), ""),
        (value(DTYPE + b")\x81"), "the forbidden instruction NEWOBJ"),
        (value(b"(ios\nsystem\n"), "the forbidden instruction INST"),
        (value(b"(" + DTYPE + b"o"), "the forbidden instruction OBJ"),
        (value(b"Pa\n"), "the forbidden instruction PERSID"),
        (value(b"\x82\x01"), "the forbidden instruction EXT1"),
        (b"(dp0\n.", "the forbidden instruction DICT"),
        # Memory asked for by numbers alone.
        (value(b"Nr\xff\xff\xff\x7f"), "the memo number 2147483647 out of turn"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 10**13) + b"ab.", "expected 1000000000"),
        (b"\x80\x04\x95" + struct.pack("<Q", 10**13) + b"N.", ""),
        # No dictionary of names, or no pickle.
        (b"\x80\x02].", "a list in place of a dictionary"),
        (b"\x80\x02}NNs.", "a key of type NoneType in place of text"),
        (b"\x80\x02}U\x01\xffNs.", "'utf-8' codec can't decode byte 0xff"),
        (b"\x80\x02}U\x01a", ""),
        (b"\x80\x02}.."[:-2] + b"u.", ""),
        (b"\x89PNG\r\n", ""),
        (b"\x80\x02h\x07.", ""),
    ],
)
def test_a_hostile_or_broken_pickle_is_refused(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    assert_refused(tmp_path, content, reason)


def test_an_array_of_objects_is_refused_in_every_protocol(tmp_path: Path) -> None:
    array: NDArray[np.object_] = np.array([Calls(os.system, "true"), None], object)
    for protocol in (2, 3, 4, 5):
        with pytest.raises(ValueError, match=r"'O8'|the forbidden name"):
            read(tmp_path, pickle.dumps({"a": array}, protocol))


@pytest.mark.parametrize("arguments", ["((2,), 'X')", "((3,), 'C')"])
def test_a_buffer_of_another_order_or_length_is_refused(
    arguments: str, tmp_path: Path
) -> None:
    array = np.frombuffer(bytearray(b"ab"), np.uint8)
    content = pickle.dumps({"a": array}, 5)
    assert b"_frombuffer" in content
    if "X" in arguments:
        assert_refused(
            tmp_path, content.replace(b"\x8c\x01C", b"\x8c\x01X"), "an array in the o"
        )
    else:
        shorter = content.replace(b"K\x02\x85", b"K\x03\x85")
        assert_refused(
            tmp_path, shorter, "an array of the shape (3,) with 2 bytes in place of 3"
        )


@pytest.mark.parametrize("size", [0, 11])
def test_a_file_that_is_empty_or_too_large_is_not_read(
    size: int, tmp_path: Path
) -> None:
    message = f"some.pkl: expected a pickle of 1 to 10 bytes, got {size} bytes"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, bytes(size), largest=10)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((2, 3), np.uint8), "an array of 2 x 3 uint8"),
        ([1, 2], "a list of 2"),
        (b"", "a bytes"),
        (None, "none"),
    ],
)
def test_what_is_in_a_pickle_is_described(value: object, text: str) -> None:
    assert described(value) == text


def test_a_missing_file_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.pkl"):
        read_array_pickle(tmp_path / "absent.pkl", largest=1)
