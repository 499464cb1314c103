import re

import pytest

from rgo_bench.cli.options import split_names
from rgo_bench.cli.seeds import parse_seeds


def test_names_are_given_with_commas_or_one_by_one() -> None:
    assert split_names("b,a,b") == split_names(["b", "a,b"]) == ["b", "a"]
    assert split_names(None) is split_names([]) is None


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", [3]),
        ("0-4", [0, 1, 2, 3, 4]),
        ("2-2", [2]),
        ("0,2,5", [0, 2, 5]),
        ("7,0-2", [7, 0, 1, 2]),
        ("0-2,1,0", [0, 1, 2]),
    ],
)
def test_seeds_are_read_once_each_in_their_order(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "1-a", "0,,2", "0-1-2", "1.5"])
def test_seeds_of_another_form_are_refused(text: str) -> None:
    message = f"--seeds: expected 3, 0-4 or 0,2,5, got {text!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_seeds(text)


def test_seeds_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="--seeds: expected at least one seed, got"):
        parse_seeds("4-0")
