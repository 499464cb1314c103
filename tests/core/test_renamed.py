"""Names of 0.1.0 that functions still answer to."""

import pytest

import rgo_core

OLD = {
    "invert": rgo_core.inverse_permutation,
    "merge": rgo_core.merge_moments,
    "update": rgo_core.update_projection,
}


@pytest.mark.parametrize("name", OLD)
def test_an_old_name_is_the_new_function_and_says_so(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=OLD[name].__name__) as caught:
        found = getattr(rgo_core, name)
    assert found is OLD[name]
    assert caught[0].filename == __file__  # whoever is to change it is pointed at
    assert name not in rgo_core.__all__


def test_other_names_are_as_unknown_as_ever() -> None:
    with pytest.raises(AttributeError, match="no attribute"):
        _ = rgo_core.invertt
