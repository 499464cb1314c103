from math import isnan

import pytest
from bench.paper.table3_records import MINI, fit

from rgo_bench.paper.published import published_fits
from rgo_bench.paper.table3 import NOTE, STREAMS, table3_sheet


def test_every_network_of_the_paper_is_there_and_what_was_not_run_says_so() -> None:
    grids = table3_sheet([]).grids
    assert [grid.title.split(",")[0] for grid in grids] == list(STREAMS)
    for stream, grid in zip(STREAMS, grids, strict=True):
        networks = list(dict.fromkeys(name for name, _ in published_fits(stream)))
        assert [cells[0] for cells in grid.cells[::2]] == networks
        for ours, paper in zip(grid.cells[::2], grid.cells[1::2], strict=True):
            assert ours[1:] == ("ours", *["not run"] * 3, "", "not run", "")
            assert paper[1] == "paper"


def test_stl_has_two_columns_and_rgo_a_column_for_each_form() -> None:
    records = [
        fit("stl", "lenet-5-unpooled", last=60.0),
        fit("stl", "lenet-5", last=70.0),
        fit("rgo", "lenet-5", variant="softmax=present"),
        fit("rgo", "lenet-5", last=84.0),
    ]
    grid = table3_sheet(records).grids[0]
    assert grid.title.endswith("Table 3: STL with its own network and with RGO's")
    assert grid.header[2:] == (
        *("STL own", "STL RGO's", "RGO paper's", "BWT", "RGO ours", "BWT"),
    )
    stl, rgo = "75.01 ± 0.32", ("81.03 ± 0.51", "-0.99 ± 0.15")
    assert grid.cells[:3] == [
        ("lenet-5", "ours", "75.00", "80.00", "85.00", "-10.00", "87.00", "-6.00"),
        ("lenet-5", "paper", stl, "", *rgo, *rgo),
        ("lenet-5", "Δ", "-0.01", "", "+3.97", "-9.01", "+5.97", "-5.01"),
    ]
    assert {len(cells) for cells in grid.cells} == {len(grid.header)}


def test_one_network_of_stl_stands_in_both_columns() -> None:
    grid = table3_sheet([fit("stl", "vgg-11", last=70.0)]).grids[0]
    (ours,) = [c for c in grid.cells if c[:2] == ("vgg-11", "ours")]
    assert ours[2:4] == ("80.00", "80.00")


def test_the_papers_row_stands_below_ours() -> None:
    records = [fit("rgo", "lenet-5"), fit("stl", "lenet-5", last=90.0)]
    *_, grid = table3_sheet(records).grids
    assert grid.title == f"split-cifar100, Table 3 ({NOTE})"
    assert grid.header == (
        *("network", "method", "form", "whose"),
        *("seeds", "train", "test", "gap", "BWT", "Δ test"),
    )
    stl = ("98.50", "90.00", "8.50", "0.00", "+14.99")
    of_paper = ("100.00 ± 0.00", "75.01 ± 0.32", "24.99", "", "")
    rgo = ("98.50", "85.00", "13.50", "-10.00", "+3.97")
    rgo_of_paper = ("99.35 ± 0.05", "81.03 ± 0.51", "18.32", "-0.99 ± 0.15", "")
    assert grid.cells == [
        ("lenet-5", "stl", "", "ours", "1", *stl),
        ("lenet-5", "stl", "", "paper", "5", *of_paper),
        ("lenet-5", "rgo", "ours", "ours", "1", *rgo),
        ("lenet-5", "rgo", "ours", "paper", "5", *rgo_of_paper),
    ]
    assert grid.names == 4


def test_without_the_training_accuracy_there_is_no_gap() -> None:
    *_, grid = table3_sheet([fit("rgo", "lenet-5", train_accuracy=None)]).grids
    assert grid.cells[0][5:] == ("", "85.00", "", "-10.00", "+3.97")


def test_both_networks_of_stl_stand_above_the_papers_numbers() -> None:
    records = [fit("stl", name, stream=MINI) for name in ("resnet-18", "resnet-18-bn")]
    *_, grid = table3_sheet(records).grids
    assert [cells[0] for cells in grid.cells] == [
        *("resnet-18", "resnet-18", "resnet-18-bn", "resnet-18-bn"),
    ]
    assert grid.cells[1][3:] == grid.cells[3][3:]
    assert grid.cells[1][6] == "68.78 ± 1.09"


def test_lines_state_ours_and_the_papers_unrounded() -> None:
    records = [fit("rgo", "lenet-5"), fit("stl", "vgg-11", train_accuracy=None)]
    rgo, stl = table3_sheet(records).lines.to_dict("records")
    assert (rgo["network"], rgo["train"], rgo["gap"]) == ("lenet-5", 98.5, 13.5)
    assert (rgo["paper_test"], rgo["paper_bwt"]) == (81.03, -0.99)
    assert (rgo["form"], stl["form"]) == ("ours", "")
    assert rgo["test_difference"] == pytest.approx(85.0 - 81.03)
    assert all(isnan(stl[name]) for name in ("train", "gap_std", "paper_bwt"))


def test_no_records_make_no_lines() -> None:
    assert len(table3_sheet([]).lines) == 0
