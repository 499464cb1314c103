import array_api_compat
import numpy as np
import pytest
from core.backends import Backend
from core.cases import normal

from rgo_core import empty_moment, observe
from rgo_core._namespace import device_of, is_traced, resolve


def test_the_namespace_is_that_of_the_arrays(backend: Backend) -> None:
    array = backend.array(normal(0, 2))
    assert resolve(None, array, array) is backend.xp
    assert resolve(None, array, None) is backend.xp


def test_a_namespace_by_keyword_is_taken_as_it_is(backend: Backend) -> None:
    assert resolve(np, backend.array(normal(0, 2))) is np


def test_arrays_of_two_namespaces_do_not_meet() -> None:
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="Multiple namespaces"):
        observe(empty_moment(2), strict.ones((1, 2)))


def test_the_device_is_the_array_s(backend: Backend) -> None:
    array = backend.array(normal(0, 2))
    assert device_of(array) == array_api_compat.device(array)


def test_only_what_jax_traces_is_traced(backend: Backend) -> None:
    assert not is_traced(backend.array(normal(0, 2)))


def test_what_jax_traces_has_no_values_and_no_device() -> None:
    jax = pytest.importorskip("jax")
    seen = []

    def look(array: object) -> object:
        seen.append((is_traced(array), device_of(array)))
        return array

    jax.jit(look)(jax.numpy.ones(2))
    assert seen == [(True, None)]
