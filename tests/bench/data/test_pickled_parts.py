import numpy as np
import pytest

from rgo_bench.data.array_pickle import (
    ARRAY_CLASS,
    PickledType,
    dtype_of,
    encode_latin1,
    from_buffer,
    reconstruct,
)


def test_an_array_begins_empty_and_is_filled_by_its_state() -> None:
    array = reconstruct(ARRAY_CLASS, (0,), b"b")
    assert array.array.shape == (0,)
    array.__setstate__((1, (2, 2), dtype_of("u1"), True, b"abcd"))
    np.testing.assert_array_equal(array.array, [[97, 99], [98, 100]])


def test_elements_are_little_endian_on_every_machine() -> None:
    dtype = dtype_of("i4")
    dtype.__setstate__((3, "<", None, None, None, -1, -1, 0))
    array = from_buffer(b"\1\0\0\0", dtype, (1,), "C").array
    assert (array.dtype, array.tolist()) == (np.dtype("<i4"), [1])


def test_the_stand_in_of_the_array_class_can_not_be_called() -> None:
    assert not callable(ARRAY_CLASS)


def test_bytes_written_for_python_2_come_back() -> None:
    content = bytes(range(256))
    assert encode_latin1(content.decode("latin1"), "latin1") == content


def test_no_element_type_holds_objects() -> None:
    for code in ("O", "O8", "V8", "u1,O", "object"):
        with pytest.raises(ValueError, match="elements of the type"):
            dtype_of(code)
    assert not PickledType("u1").type.hasobject
