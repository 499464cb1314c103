import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.sample_records import record_of

from rgo_bench.cli.rivals import compare
from rgo_bench.cli.terminal import Format
from rgo_bench.records import PHASES, Record, write_record
from rgo_bench.report.comparison import compare_sheet, comparisons
from rgo_bench.report.orders import disparities, order_sheet
from rgo_bench.report.plots import figure_comparison
from rgo_bench.streams.reordered import task_order

SECONDS = dict(zip(PHASES, (3.0, 2.0, 1.0, 100.0), strict=True))


def of(method: str, acc: float, size: float | None = None, seed: int = 0) -> Record:
    record = record_of([acc, acc], method=method, seed=seed, seconds=SECONDS)
    kept = None if size is None else {"bytes": size, "capacity": 120.0}
    return replace(record, kept=kept)


def test_the_most_accurate_comes_first_with_what_it_costs() -> None:
    records = [of("sgd", 50.0), of("rgo", 91.0, 2**20), of("rgo", 93.0, 3 * 2**20, 1)]
    rows = comparisons(records)
    (grid,) = compare_sheet(rows).grids
    assert grid.cells == [
        ("rgo", "", "2", "92.00 ± 1.00", "2.00 ± 1.00", "2.00", "120", "6"),
        ("sgd", "", "1", "50.00", "-40.00", "", "", "6"),
    ]
    named, _ = compare_sheet(rows).lines.to_dict("records")
    assert (named["kept_bytes"], named["seconds"]) == (2 * 2**20, 6.0)


def test_a_run_of_which_one_record_counts_nothing_has_no_memory() -> None:
    rows = comparisons([of("rgo", 91.0, 2**20), of("rgo", 93.0, None, 1)])
    assert rows[["kept_bytes", "capacity"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "expected those of one stream, got none"),
        (
            [of("rgo", 91.0), record_of([1.0, 1.0], stream="rotated-mnist")],
            "expected those of one stream, got permuted-mnist, rotated-mnist",
        ),
        (
            [of("rgo", 91.0), record_of([1.0] * 3, method="sgd")],
            r"expected as many tasks in all, got \[2, 3\]",
        ),
    ],
)
def test_what_does_not_compare_is_refused(records: list[Record], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        comparisons(records)


def test_the_picture_has_every_run_it_can_place() -> None:
    rows = comparisons([of("sgd", 50.0), of("rgo", 91.0, 2**20)])
    figure = figure_comparison(rows)
    memory, time = figure.axes
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["rgo", "sgd"]
    placed = [
        [bars[0].get_xdata()[0] for bars in axes.containers] for axes in (memory, time)
    ]
    np.testing.assert_equal(placed, [[1.0, np.nan], [6.0, 6.0]])
    assert memory.get_xscale() == time.get_xscale() == "log"


def test_of_very_many_runs_a_method_s_default_is_drawn() -> None:
    records = [of("rgo", 91.0)]
    for method in ("rgo", "sgd"):
        for number in range(20):
            record = of(method, 50.0 + number)
            config = {**record.config, "lr": 0.01 * (number + 1)}
            records.append(replace(record, variant=f"lr={number}", config=config))
    rows = comparisons(records)
    assert len(rows) == 41
    (legend,) = figure_comparison(rows).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == 21
    assert [name for name in names if name.startswith("rgo")] == ["rgo"]


def test_the_command_chooses_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for record in (of("rgo", 91.0, 2**20), of("sgd", 50.0)):
        write_record(tmp_path, record)
    compare(tmp_path, "permuted-mnist", tasks=2, plot=tmp_path / "a.svg")
    assert re.search(r"rgo +1 +91.00", capsys.readouterr().out)
    assert (tmp_path / "a.svg").stat().st_size > 1000
    with pytest.raises(ValueError, match="with mlp and 20 tasks, got none"):
        compare(tmp_path, "permuted-mnist")


def test_streams_are_set_below_each_other_but_not_drawn_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for record in (of("rgo", 91.0), record_of([70.0, 70.0], stream="rotated-mnist")):
        write_record(tmp_path, record)
    both = "permuted-mnist,rotated-mnist"
    compare(tmp_path, both, tasks=2, format_=Format.markdown)
    titles = re.findall("### (.*)", capsys.readouterr().out)
    assert titles == both.split(",")
    compare(tmp_path, both, tasks=2, format_=Format.csv)
    assert len(capsys.readouterr().out.splitlines()) == 3
    with pytest.raises(ValueError, match="--plot: expected one stream, got permuted-"):
        compare(tmp_path, both, tasks=2, plot=tmp_path / "b.svg")


def test_disparity_is_taken_task_by_task_over_the_orders() -> None:
    places = task_order(3, 1)
    assert places != [0, 1, 2]
    own = [80.0, 70.0, 60.0]
    # As well in each task, but for 6 points more in the stream's task 2.
    other = [own[place] + 6 * (place == 2) for place in places]
    records = [
        record_of(own, config={"order": None}),
        record_of(other, config={"order": 1}),
        record_of(own, config={}, method="sgd"),
    ]
    sheet = order_sheet(disparities(records))
    rgo, sgd = sheet.lines.itertuples()
    assert (rgo.orders, rgo.aopd, rgo.mopd) == (2, pytest.approx(2), 6)
    assert (sgd.aopd, sgd.mopd) == (0, 0)
    (grid,) = sheet.grids
    assert grid.cells[0] == ("rgo", "2", "71.00 ± 1.00", "2.00", "6.00")
