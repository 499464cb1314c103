from typing import Any

import pytest
from bench.page_elements import cells, read_page
from bench.sample_records import make_record

from rgo_bench.records import PHASES, Record
from rgo_bench.records.groups import group_by_run
from rgo_bench.report.timings import relative_time, timing_tables, timings

HERE, THERE = {"device": "cpu"}, {"device": "gpu"}
SGD = {"tasks": 2, "lr": 0.1}


def timed(method: str, *seconds: float, **changes: Any) -> Record:
    config = {**SGD, "per": "sample"} if method == "rgo" else SGD
    spent = dict(zip(PHASES, seconds, strict=True))
    fields = {"method": method, "seconds": spent, "config": config, "environment": HERE}
    return make_record(**{**fields, **changes})


def ratios(*records: Record) -> dict[str, float | None]:
    rows = timings(group_by_run(records), [HERE, THERE])
    return {row.run.label: relative_time(row, rows) for row in rows}


def test_the_time_is_that_of_the_seed_that_learned_fastest() -> None:
    slow, fast = timed("rgo", 9, 1, 1, 1), timed("rgo", 2, 2, 2, 9, seed=1)
    (row,) = timings(group_by_run([slow, fast]), [HERE])
    assert (row.seeds, row.seconds, row.learning) == (2, fast.seconds, 6)


def test_the_ratio_is_of_learning_and_not_of_the_tests() -> None:
    records = timed("rgo", 3, 1, 1, 50), timed("sgd", 2, 0, 0, 5)
    assert ratios(*records) == {"rgo": 2.5, "sgd": 1.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": THERE},
        {"stream": "rotated-mnist"},
        {"backend": "jax"},
        {"network": "lenet-5"},
        {"config": {**SGD, "tasks": 20}, "variant": "tasks=20"},
    ],
)
def test_times_that_cannot_be_compared_have_no_ratio(changes: dict[str, Any]) -> None:
    assert (
        ratios(timed("rgo", 3, 1, 1, 1), timed("sgd", 2, 0, 0, 5, **changes))["rgo"]
        is None
    )


def test_a_run_without_sgd_or_beside_an_sgd_of_no_time_has_no_ratio() -> None:
    assert ratios(timed("rgo", 3, 1, 1, 1)) == {"rgo": None}
    assert ratios(timed("rgo", 3, 1, 1, 1), timed("sgd", 0, 0, 0, 0))["rgo"] is None


def test_the_seeds_of_two_environments_are_not_mixed() -> None:
    records = [timed("sgd", 2, 0, 0, 1), timed("sgd", 4, 0, 0, 1, seed=1)]
    there = timed("sgd", 1, 0, 0, 1, seed=2, environment=THERE)
    rows = timings(group_by_run([*records, there]), [HERE, THERE])
    assert [(row.environment, row.seeds, row.learning) for row in rows] == [
        (0, 2, 2),
        (1, 1, 1),
    ]


def test_every_stream_and_environment_has_a_table_with_a_link() -> None:
    records = [timed("rgo", 3, 1, 1, 1), timed("sgd", 2, 0, 0, 5)]
    other = timed("sgd", 2, 0, 0, 5, seed=1, environment=THERE)
    page = read_page(timing_tables(group_by_run([*records, other]), [HERE, THERE]))
    captions = [each.text for each in page.all("caption")]
    assert captions == ["permuted-mnist in E1", "permuted-mnist in E2"]
    assert [link.attributes["href"] for link in page.all("a")] == [
        "#environment-1",
        "#environment-2",
    ]
    first = page.all("table")[0]
    assert cells(first.one("tbody").all("tr")[0])[:-1] == [
        *("rgo", "1", "3.0", "1.0", "1.0", "1.0", "5.0", "2.50"),
    ]
    assert len(first.one("thead").all("th")) == 9


def test_bars_are_shares_of_the_longest() -> None:
    records = [timed("rgo", 3, 1, 0, 1), timed("sgd", 2, 0, 0, 5)]
    page = read_page(timing_tables(group_by_run(records), [HERE]))
    styles = [part.attributes["style"] for part in page.all("span", "part")]
    assert styles == [f"width:{w:.2f}%" for w in (75, 25, 0, 50, 0, 0)]
