from math import isnan

import pytest
from bench.paper.table3_records import fit

from rgo_bench.methods import METHODS
from rgo_bench.paper.published import own_network, published_fits
from rgo_bench.paper.table3 import (
    NOTE,
    OUR_FORM,
    PAPERS,
    PAPERS_FORM,
    SCALED_FORM,
    STREAMS,
    form_of,
    table3_rows,
    table3_sheet,
    table3_specs,
)

CIFAR, MINI = STREAMS


def test_the_table_is_stl_and_rgo_on_every_network_of_the_paper() -> None:
    specs = table3_specs(seeds=[0])
    for stream in STREAMS:
        cells = {(s.network, s.method) for s in specs if s.stream == stream}
        own = {(own_network(*cell), cell[1]) for cell in published_fits(stream)}
        assert cells == set(published_fits(stream)) | own
    # STL, RGO in three forms; and STL's own LeNet-5, AlexNet-7 and ResNet-18.
    assert len(specs) == 4 * 4 + 4 * 4 + 3


def test_runs_have_the_protocol_of_the_table() -> None:
    for spec in table3_specs():
        lr = 0.03 if spec.stream == CIFAR else 0.01
        assert (spec.stream_options.epochs, spec.stream_options.lr) == (20, lr)
    specs = table3_specs(streams=[MINI], networks=["alexnet-7"], seeds=[0])
    stl, papers, scaled, ours = specs
    assert stl.variant == ours.variant == "epochs=20,lr=0.01,network=alexnet-7"
    assert scaled.variant == f"{stl.variant},weights=normalized"
    paper = METHODS["rgo"].presets["paper"]
    assert paper.items() <= papers.config.items()
    forms = [form_of(spec.method, spec.variant) for spec in specs]
    assert forms == ["", PAPERS_FORM, SCALED_FORM, OUR_FORM]


def test_a_part_of_the_table_can_be_run() -> None:
    specs = table3_specs(seeds=[3], networks=["vgg-11", "lenet-5"])
    assert {(s.stream, s.network, s.seed) for s in specs} == {
        *((CIFAR, "lenet-5", 3), (CIFAR, "vgg-11", 3), (MINI, "vgg-11", 3)),
    }
    assert {spec.seed for spec in table3_specs()} == set(range(5))
    assert {spec.seed for spec in table3_specs()[:35]} == {0}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"streams": ["permuted-mnist"]},
            "--stream: expected one of split-cifar100, split-miniimagenet, got perm",
        ),
        (
            {"streams": [CIFAR], "networks": ["alexnet-7"]},
            "--network: expected one of lenet-5, lenet-5-unpooled, alexnet-6, vgg-1",
        ),
    ],
)
def test_what_the_table_does_not_have_is_refused(
    asked: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        table3_specs(**asked)


def test_a_row_has_both_accuracies_and_their_gap_over_the_seeds() -> None:
    accuracies = [(99.0, 97.0), (95.0, 95.0)]
    records = [
        fit("rgo", "lenet-5", seed=seed, last=last, train_accuracy=train)
        for seed, (last, train) in enumerate(zip((80.0, 70.0), accuracies, strict=True))
    ]
    (row,) = table3_rows(records).itertuples()
    assert row.seeds == 2
    assert (row.train, row.train_std) == pytest.approx((96.5, 1.5))
    assert (row.test, row.test_std) == pytest.approx((82.5, 2.5))
    # 98 - 85 and 95 - 80.
    assert (row.gap, row.gap_std) == pytest.approx((14.0, 1.0))
    assert (row.bwt, row.bwt_std) == pytest.approx((-15.0, 5.0))
    papers = published_fits(CIFAR)["lenet-5", "rgo"]
    assert tuple(getattr(row, name) for name in PAPERS) == papers


def test_without_the_training_accuracy_of_a_seed_there_is_none() -> None:
    records = [fit("rgo", "lenet-5"), fit("rgo", "lenet-5", seed=1)]
    (row,) = table3_rows(records).itertuples()
    assert row.train == 98.5
    records[1] = fit("rgo", "lenet-5", seed=1, train_accuracy=None)
    (row,) = table3_rows(records).itertuples()
    assert isnan(row.train)
    assert isnan(row.gap)


def test_rows_stand_in_the_order_of_the_paper() -> None:
    cells = [
        ("resnet-18-bn", "stl", MINI),
        ("resnet-18", "rgo", MINI),
        ("resnet-18", "stl", MINI),
        ("vgg-11", "rgo", CIFAR),
        ("vgg-11", "stl", CIFAR),
        ("lenet-5", "rgo", CIFAR),
    ]
    records = [fit(method, network, stream=s) for network, method, s in cells]
    rows = table3_rows(records)
    found = list(zip(rows.network, rows.method, rows.stream, strict=True))
    expected = [*cells[5:], *cells[4:2:-1], cells[2], cells[0], cells[1]]
    assert found == expected


def test_the_papers_form_stands_before_ours() -> None:
    variants = ("", "weights=normalized", "softmax=present")
    forms = [fit("rgo", "lenet-5", variant=variant) for variant in variants]
    assert list(table3_rows(forms).form) == [PAPERS_FORM, SCALED_FORM, OUR_FORM]


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
