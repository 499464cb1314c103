from typing import Any

import pytest
from bench.sample_records import record_of

from rgo_bench.paper import published_fits
from rgo_bench.records import Record
from rgo_bench.table3 import (
    STREAMS,
    table3_rows,
    table3_sheet,
    table3_specs,
)

CIFAR, MINI = STREAMS


def fit(
    method: str, network: str, *, stream: str = CIFAR, last: float = 80.0, **more: Any
) -> Record:
    """A record of two tasks, learned to 90 percent, the first ending at `last`."""
    fields: dict[str, Any] = {"variant": "", "train_accuracy": (99.0, 98.0), **more}
    names = {"stream": stream, "method": method, "network": network}
    return record_of([last, 90.0], **names, **fields)


def test_the_table_is_stl_and_rgo_on_every_network_of_the_paper() -> None:
    specs = table3_specs(seeds=[0])
    for stream in STREAMS:
        cells = {(s.network, s.method) for s in specs if s.stream == stream}
        normalized = {("resnet-18-bn", "stl")} if stream == MINI else set()
        assert cells == set(published_fits(stream)) | normalized
    assert len(specs) == 2 * 4 + 2 * 4 + 1


def test_runs_have_the_protocol_of_the_table() -> None:
    for spec in table3_specs():
        lr = 0.03 if spec.stream == CIFAR else 0.01
        assert (spec.stream_options.epochs, spec.stream_options.lr) == (20, lr)
    stl, rgo, *_ = table3_specs(streams=[MINI], networks=["alexnet-7"])
    assert stl.variant == "epochs=20,lr=0.01,network=alexnet-7"
    assert rgo.variant == f"{stl.variant},relative=true"


def test_a_part_of_the_table_can_be_run() -> None:
    specs = table3_specs(seeds=[3], networks=["vgg-11", "lenet-5"])
    assert {(s.stream, s.network, s.seed) for s in specs} == {
        *((CIFAR, "lenet-5", 3), (CIFAR, "vgg-11", 3), (MINI, "vgg-11", 3)),
    }
    assert {spec.seed for spec in table3_specs()} == set(range(5))
    assert {spec.seed for spec in table3_specs()[:17]} == {0}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"streams": ["permuted-mnist"]},
            "--stream: expected one of split-cifar100, split-miniimagenet, got perm",
        ),
        (
            {"streams": [CIFAR], "networks": ["alexnet-7"]},
            "--network: expected one of lenet-5, alexnet-6, vgg-11, vgg-13, got alex",
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
    (row,) = table3_rows(records)
    assert row.seeds == 2
    assert row.train == pytest.approx((96.5, 1.5))
    assert row.test == pytest.approx((82.5, 2.5))
    # 98 - 85 and 95 - 80.
    assert row.gap == pytest.approx((14.0, 1.0))
    assert row.bwt == pytest.approx((-15.0, 5.0))
    assert row.paper == published_fits(CIFAR)["lenet-5", "rgo"]


def test_without_the_training_accuracy_of_a_seed_there_is_none() -> None:
    records = [fit("rgo", "lenet-5"), fit("rgo", "lenet-5", seed=1)]
    (row,) = table3_rows([records[0], fit("rgo", "lenet-5", seed=1)])
    assert row.train is not None
    (row,) = table3_rows([records[0], without_training(records[1])])
    assert (row.train, row.gap) == (None, None)
    (grid,) = table3_sheet([without_training(records[0])]).grids
    assert grid.cells[0][4:] == ("", "85.00", "", "-10.00", "+3.97")


def without_training(record: Record) -> Record:
    return fit("rgo", "lenet-5", seed=record.seed, train_accuracy=None)


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
    found = [(r.run.network, r.run.method, r.run.stream) for r in table3_rows(records)]
    expected = [*cells[5:], *cells[4:2:-1], cells[2], cells[0], cells[1]]
    assert found == expected


def test_the_papers_row_stands_below_ours() -> None:
    records = [fit("rgo", "lenet-5"), fit("stl", "lenet-5", last=90.0)]
    (grid,) = table3_sheet(records).grids
    assert grid.title == "split-cifar100, Table 3 (RGO with relative=true)"
    assert grid.header == (
        *("network", "method", "whose"),
        *("seeds", "train", "test", "gap", "BWT", "Δ test"),
    )
    stl = ("98.50", "90.00", "8.50", "0.00", "+14.99")
    of_paper = ("100.00 ± 0.00", "75.01 ± 0.32", "24.99", "", "")
    rgo = ("98.50", "85.00", "13.50", "-10.00", "+3.97")
    rgo_of_paper = ("99.35 ± 0.05", "81.03 ± 0.51", "18.32", "-0.99 ± 0.15", "")
    assert grid.cells == [
        ("lenet-5", "stl", "ours", "1", *stl),
        ("lenet-5", "stl", "paper", "5", *of_paper),
        ("lenet-5", "rgo", "ours", "1", *rgo),
        ("lenet-5", "rgo", "paper", "5", *rgo_of_paper),
    ]
    assert grid.names == 3


def test_both_networks_of_stl_stand_above_the_papers_numbers() -> None:
    records = [fit("stl", name, stream=MINI) for name in ("resnet-18", "resnet-18-bn")]
    (grid,) = table3_sheet(records).grids
    assert [cells[0] for cells in grid.cells] == [
        *("resnet-18", "resnet-18", "resnet-18-bn", "resnet-18-bn"),
    ]
    assert grid.cells[1][2:] == grid.cells[3][2:]
    assert grid.cells[1][5] == "68.78 ± 1.09"


def test_lines_state_ours_and_the_papers_unrounded() -> None:
    records = [fit("rgo", "lenet-5"), fit("stl", "vgg-11", train_accuracy=None)]
    header, first, second = (list(x) for x in table3_sheet(records).lines)
    assert len(header) == len(first) == len(second) == len(set(header))
    rgo, stl = (dict(zip(header, line, strict=True)) for line in (first, second))
    assert (rgo["network"], rgo["train"], rgo["gap"]) == ("lenet-5", 98.5, 13.5)
    assert (rgo["paper_test"], rgo["paper_bwt"]) == (81.03, -0.99)
    assert rgo["test_difference"] == pytest.approx(85.0 - 81.03)
    assert (stl["train"], stl["gap_std"], stl["paper_bwt"]) == (None, None, None)


def test_no_records_make_no_grids() -> None:
    sheet = table3_sheet([])
    assert (sheet.grids, len(sheet.lines)) == ([], 1)
