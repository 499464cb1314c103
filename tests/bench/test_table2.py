import pytest
from bench.sample_records import record_of

from rgo_bench.paper import published_gains
from rgo_bench.records import Record
from rgo_bench.table2 import NETWORK, STREAM, gain, table2_sheet, table2_specs
from rgo_bench.table3 import table3_specs


def of(method: str, acc: float, seed: int = 0) -> Record:
    names = {"stream": STREAM, "method": method, "network": NETWORK}
    return record_of([acc, acc], seed=seed, **names)


def test_the_runs_are_those_of_table_3_with_lenet() -> None:
    specs = table2_specs()
    assert specs == table3_specs(streams=[STREAM], networks=[NETWORK])
    assert {(spec.method, spec.variant) for spec in specs} == {
        ("stl", "epochs=20,network=lenet-5"),
        ("rgo", "epochs=20,network=lenet-5,relative=true"),
    }
    assert len(specs) == 10
    assert table2_specs(seeds=[1], streams=[STREAM], networks=[NETWORK]) == specs[2:4]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"streams": ["split-miniimagenet"]}, "--stream: expected one of split-cifar1"),
        ({"networks": ["vgg-11"]}, "--network: expected one of lenet-5, got vgg-11"),
    ],
)
def test_what_the_table_does_not_have_is_refused(
    asked: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        table2_specs(**asked)


def test_the_gain_is_taken_seed_by_seed() -> None:
    accuracies = [("rgo", (82.0, 78.0)), ("stl", (80.0, 75.0))]
    records = [of(m, acc, i) for m, accs in accuracies for i, acc in enumerate(accs)]
    ours = gain(records)
    assert ours is not None
    assert ours.seeds == 2
    assert ours.points == pytest.approx((2.5, 0.5))
    assert ours.percent == pytest.approx((3.25, 0.75))
    assert ours.difference == pytest.approx(2.5 - 6.02)


def test_a_seed_that_one_method_lacks_is_left_out() -> None:
    records = [of("rgo", 82.0), of("stl", 80.0), of("rgo", 10.0, 1), of("stl", 9.0, 2)]
    ours = gain(records)
    assert ours is not None
    assert (ours.seeds, ours.points) == (1, (2.0, 0.0))
    assert gain([of("rgo", 82.0), of("stl", 80.0, 1)]) is None


def test_the_paper_and_what_it_quotes_stand_below_ours() -> None:
    (grid,) = table2_sheet([of("rgo", 82.0), of("stl", 80.0)]).grids
    assert grid.title == "split-cifar100 (lenet-5), Table 2 (RGO with relative=true)"
    assert grid.header[: grid.names] == ("method", "whose")
    assert grid.cells[:3] == [
        ("rgo", "ours", "1", "2.00", "2.50", "100", "-4.02"),
        ("rgo", "paper", "5", "6.02 ± 0.50", "", "100", ""),
        ("pgn", "quoted by the paper", "", "-10.24 ± 0.39", "", "271", ""),
    ]
    assert [cells[0] for cells in grid.cells[1:]] == ["rgo", "pgn", "den", "rcl", "apd"]
    assert {len(cells) for cells in grid.cells} == {len(grid.header)}


def test_without_records_only_the_papers_numbers_are_there() -> None:
    sheet = table2_sheet([])
    (grid,) = sheet.grids
    assert len(grid.cells) == len(published_gains()) == len(sheet.lines) - 1


def test_lines_state_the_numbers_unrounded() -> None:
    header, ours, paper, *_ = table2_sheet([of("rgo", 82.0), of("stl", 80.0)]).lines
    assert len(set(header)) == len(header) == len(ours) == len(paper)
    named = dict(zip(header, ours, strict=True))
    assert (named["points"], named["percent"]) == pytest.approx((2.0, 2.5))
    assert named["points_difference"] == pytest.approx(-4.02)
    assert dict(zip(header, paper, strict=True))["percent"] is None
