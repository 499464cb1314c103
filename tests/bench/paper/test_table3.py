from math import isnan

import pytest
from bench.paper.table3_records import fit

from rgo_bench.methods import METHODS
from rgo_bench.paper.published import own_network, published_fits
from rgo_bench.paper.table3 import (
    OUR_FORM,
    PAPERS,
    PAPERS_FORM,
    SCALED_FORM,
    STREAMS,
    form_of,
    table3_rows,
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
