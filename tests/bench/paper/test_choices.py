import pytest

from rgo_bench.paper.choices import SEEDS, chosen


def test_all_names_are_chosen_where_none_is_asked_for() -> None:
    assert chosen("stream", None, ["b", "a", "b"]) == ("b", "a")


def test_names_keep_the_order_in_which_they_are_known() -> None:
    assert chosen("stream", ["c", "a", "c"], ["a", "b", "c"]) == ("a", "c")


def test_nothing_asked_for_is_nothing() -> None:
    assert chosen("stream", [], ["a"]) == ()


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="--network: expected one of a, b, got c, d"):
        chosen("network", ["c", "a", "d"], ["a", "b"])


def test_the_seeds_are_the_papers_five() -> None:
    assert list(SEEDS) == [0, 1, 2, 3, 4]
