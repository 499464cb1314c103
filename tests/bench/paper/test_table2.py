from dataclasses import replace
from math import isnan
from typing import Any

import pytest
from bench.sample_records import record_of

from rgo_bench.paper.published import published_gains
from rgo_bench.paper.table2 import (
    BASE_NETWORKS,
    EXPANDING,
    METHOD,
    NETWORK,
    STREAM,
    table2_rows,
    table2_sheet,
    table2_specs,
)
from rgo_bench.paper.table3 import FORMS, OUR_FORM, table3_specs
from rgo_bench.records import Record

UNPOOLED = "lenet-5-unpooled"


def of(
    method: str, acc: float, seed: int = 0, *, network: str = NETWORK, variant: str = ""
) -> Record:
    names = {"stream": STREAM, "method": method, "network": network}
    return record_of([acc, acc], seed=seed, variant=variant, **names)


def gain(records: list[Record], form: str = OUR_FORM, network: str = NETWORK) -> Any:
    """That of a form of RGO over STL with a network."""
    rows = table2_rows(records)
    rows = rows[(rows.method == METHOD) & (rows.form == form)]
    (row,) = rows[rows.stl_network == network].itertuples()
    return row


def test_the_runs_are_those_of_table_3_with_lenet_and_of_expanding_methods() -> None:
    every = table2_specs()
    specs, grown = every[:25], every[25:]
    assert specs == table3_specs(streams=[STREAM], networks=[NETWORK, UNPOOLED])
    assert [(spec.method, spec.variant) for spec in grown[:4]] == [
        ("pgn", "epochs=20,network=lenet-5"),
        ("den", "epochs=20,network=lenet-5,units=1"),
        ("rcl", "epochs=20,most=5,network=lenet-5,trials=5"),
        ("apd", "epochs=20,network=lenet-5"),
    ]
    assert [spec.seed for spec in grown] == [s for s in range(5) for _ in range(4)]
    assert {(spec.method, spec.variant) for spec in specs} == {
        ("stl", "epochs=20,network=lenet-5"),
        ("stl", "epochs=20,network=lenet-5-unpooled"),
        ("rgo", "epochs=20,network=lenet-5"),
        ("rgo", "epochs=20,network=lenet-5,weights=normalized"),
        (
            "rgo",
            "biases=normalized,damping=0.01,epochs=20,network=lenet-5,per=batch,"
            "permutations=shared,softmax=present",
        ),
    }
    part = table2_specs(seeds=[1], streams=[STREAM], networks=[UNPOOLED])
    assert part == [s for s in specs[5:10] if s.network == UNPOOLED]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"streams": ["split-miniimagenet"]}, "--stream: expected one of split-cifar1"),
        (
            {"networks": ["vgg-11"]},
            "--network: expected one of lenet-5, lenet-5-unpooled, ",
        ),
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
    assert ours.seeds == 2
    assert (ours.points, ours.points_std) == pytest.approx((2.5, 0.5))
    assert (ours.percent, ours.percent_std) == pytest.approx((3.25, 0.75))


def test_a_seed_that_one_method_lacks_is_left_out() -> None:
    records = [of("rgo", 82.0), of("stl", 80.0), of("rgo", 10.0, 1), of("stl", 9.0, 2)]
    ours = gain(records)
    assert (ours.seeds, ours.points, ours.points_std) == (1, 2.0, 0.0)
    nothing = gain([of("rgo", 82.0), of("stl", 80.0, 1)])
    assert (nothing.seeds, isnan(nothing.points)) == (0, True)


def test_the_gain_is_that_of_a_form_over_a_network_of_stl() -> None:
    records = [
        of("rgo", 82.0),
        of("rgo", 83.0, variant="softmax=present"),
        of("rgo", 81.0, variant="weights=normalized"),
        of("stl", 80.0),
        of("stl", 76.0, network=UNPOOLED),
    ]
    points = {
        (form, network): gain(records, form, network).points
        for form in FORMS
        for network in BASE_NETWORKS
    }
    assert points == {
        ("paper's", UNPOOLED): 7.0,
        ("paper's", NETWORK): 3.0,
        ("scaled", UNPOOLED): 5.0,
        ("scaled", NETWORK): 1.0,
        ("ours", UNPOOLED): 6.0,
        ("ours", NETWORK): 2.0,
    }


def test_what_the_paper_prints_and_quotes_stands_in_columns_of_its_own() -> None:
    kept = {"bytes": 3 * 2**20, "capacity": 131.4}
    records = [of("rgo", 82.0), of("stl", 80.0), of("stl", 75.0, network=UNPOOLED)]
    records.append(replace(of("apd", 77.0), kept=kept))
    (grid,) = table2_sheet(records).grids
    title = "split-cifar100 (lenet-5), Table 2: over STL with its own network and RGO's"
    assert grid.title == title
    assert grid.header == (
        *("method", "form", "STL", "seeds", "points", "percent"),
        *("capacity", "MiB", "paper", "its capacity", "Δ"),
    )
    assert grid.names == 3
    nothing, printed = ("0", "not run", "", "", ""), ("6.02 ± 0.50", "100")
    assert grid.cells[:8] == [
        ("rgo", "paper's", "own", *nothing, *printed, ""),
        ("rgo", "paper's", "RGO's", *nothing, "", "", ""),
        ("rgo", "scaled", "own", *nothing, *printed, ""),
        ("rgo", "scaled", "RGO's", *nothing, "", "", ""),
        *[("rgo", "ours", "own", "1", "7.00", "9.33", "100", "", *printed, "+0.98")],
        ("rgo", "ours", "RGO's", "1", "2.00", "2.50", "100", "", "", "", ""),
        ("pgn", "", "own", *nothing, "", "", ""),
        ("pgn", "", "RGO's", *nothing, "-10.24 ± 0.39", "271", ""),
    ]
    apd = ("apd", "", "RGO's", "1", "-3.00", "-3.75", "131", "3.00")
    assert grid.cells[-1] == (*apd, "-4.19 ± 0.33", "130", "+1.19")
    assert list(dict.fromkeys(cells[0] for cells in grid.cells)) == [METHOD, *EXPANDING]
    assert {len(cells) for cells in grid.cells} == {len(grid.header)}


def test_without_records_only_the_papers_numbers_are_there() -> None:
    sheet = table2_sheet([])
    rows = sheet.grids[0].cells
    assert {cells[4] for cells in rows} == {"not run"}
    assert sum(bool(cells[8]) for cells in rows) == len(published_gains()) + 2


def test_lines_state_the_numbers_unrounded() -> None:
    records = [of("rgo", 82.0), of("stl", 80.0), of("stl", 75.0, network=UNPOOLED)]
    named = table2_sheet(records).lines.to_dict("records")
    apart, ours = named[4], named[5]
    assert (ours["points"], ours["percent"]) == pytest.approx((2.0, 2.5))
    # The paper's gain is over the other network.
    assert isnan(ours["points_difference"])
    assert apart["points_difference"] == pytest.approx(7.0 - 6.02)
    assert named[-1]["paper_points"] == -4.19
    assert isnan(named[-1]["points"])
