import re
from dataclasses import dataclass
from typing import Literal

import pytest

from rgo_bench.streams.options import (
    Count,
    Options,
    Part,
    Positive,
    StreamOptions,
    check_choice,
)

GOOD = {"tasks": 20, "samples": 100, "batch": 10, "epochs": 1, "lr": 0.1}


def test_options_are_stated_by_name() -> None:
    stated = StreamOptions(**GOOD).as_dict()
    assert list(stated.items()) == [*GOOD.items(), ("order", None)]


@pytest.mark.parametrize("option", ["tasks", "samples", "batch", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True, None])
def test_a_count_must_be_a_positive_integer(option: str, value: object) -> None:
    message = f"option '{option}': expected a positive integer, got {value!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        StreamOptions(**{**GOOD, option: value})


@pytest.mark.parametrize(
    "value", [0, -0.1, float("inf"), float("nan"), "0.1", True, None]
)
def test_a_learning_rate_must_be_a_positive_number(value: object) -> None:
    message = f"option 'lr': expected a positive number, got {value!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        StreamOptions(**{**GOOD, "lr": value})


def test_a_learning_rate_may_be_an_integer() -> None:
    assert StreamOptions(**{**GOOD, "lr": 1}).lr == 1


@dataclass(frozen=True, kw_only=True)
class SomeOptions(Options):
    most: Count | None = None
    rate: Positive = 0.5
    part: Part = 0.5
    kind: Literal["a", "b"] | None = None


def test_types_say_what_options_may_be() -> None:
    assert SomeOptions(most=3, kind="a").as_dict() == {
        **{"most": 3, "rate": 0.5, "part": 0.5, "kind": "a"}
    }
    assert SomeOptions().choices == {"kind": (None, "a", "b")}
    for given, message in (
        ({"most": 0}, "option 'most': expected a positive integer, got 0"),
        ({"rate": None}, "option 'rate': expected a positive number, got None"),
        ({"rate": float("inf")}, "option 'rate': expected a positive number, got inf"),
        ({"part": 1.5}, "option 'part': expected a number above 0 and at most 1, got"),
        ({"kind": "c"}, "option 'kind': expected one of null, a, b, got 'c'"),
    ):
        with pytest.raises(ValueError, match=message):
            SomeOptions(**given)


def test_a_choice_must_be_among_those_offered() -> None:
    check_choice("angles", "fixed", ("fixed", "drawn"))
    message = "option 'angles': expected one of fixed, drawn, got 'any'"
    with pytest.raises(ValueError, match=message):
        check_choice("angles", "any", ("fixed", "drawn"))
