import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgo_bench.records import differing_options, variant_name, variant_options


def test_options_at_their_defaults_have_no_name() -> None:
    assert variant_name({"lr": 0.1, "tasks": 20}, {"lr": 0.1, "tasks": 20}) == ""
    assert variant_options("") == {}


def test_options_that_differ_are_named_in_the_order_of_their_keys() -> None:
    options = {"tasks": 6, "per": "batch", "lr": 0.1}
    defaults = {"per": "sample", "lr": 0.1, "tasks": 20}
    assert variant_name(options, defaults) == "per=batch,tasks=6"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (0.01, "0.01"),
        (1e-7, "1e-07"),
        (True, "true"),
        (None, "none"),
        ((256, 256), "256x256"),
        ([0.5, 1.0], "0.5x1"),
        ("a/b: c", "a%2Fb%3A%20c"),
        ("a=b,c", "a%3Db%2Cc"),
    ],
)
def test_equal_values_have_one_text_that_a_file_name_may_hold(
    value: object, text: str
) -> None:
    assert variant_name({"key": value}, {}) == f"key={text}"


def test_configurations_differ_in_what_has_another_value() -> None:
    one = {"tasks": 6, "per": "batch", "lr": 0.1}
    assert differing_options(one, dict(one)) == []
    assert differing_options(one, {"tasks": 5, "lr": 0.1}) == ["per", "tasks"]


def test_an_option_that_is_not_stated_is_none() -> None:
    assert differing_options({"lr": 0.1}, {"lr": 0.1, "manifold": None}) == []
    assert differing_options({"manifold": None}, {"manifold": False}) == ["manifold"]


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4))
def test_options_are_read_back_from_every_name(options: dict[str, str]) -> None:
    name = variant_name(options, {})
    assert variant_options(name) == options
    assert set(name) <= set(string.ascii_letters + string.digits + "_.-~%=,")


@pytest.mark.parametrize("name", ["batch", "=batch", "per=batch,", "a=1,,b=2"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    message = f"variant: expected key=value,key=value or nothing, got {name!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        variant_options(name)
