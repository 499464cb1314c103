from math import isnan
from typing import Any

import pytest
from bench.sample_records import make_record, record_of

from rgo_bench.paper.accuracies import COLUMNS, PAPERS, accuracy_sheet, table_rows
from rgo_bench.paper.published import published
from rgo_bench.records import Record


def rows(records: list[Record]) -> list[Any]:
    return list(table_rows(records).itertuples())


def papers(row: Any) -> tuple[float, ...]:
    return tuple(getattr(row, name) for name in PAPERS)


def test_a_row_has_the_mean_and_the_population_deviation_over_the_seeds() -> None:
    lasts = [[80.0, 90.0], [84.0, 90.0], [85.0, 90.0]]
    records = [record_of(last, seed=seed) for seed, last in enumerate(lasts)]
    (row,) = rows(records)
    assert row.seeds == 3
    assert row.acc == pytest.approx(86.5)
    assert row.acc_std == pytest.approx((3.5 / 3) ** 0.5)
    assert row.bwt == pytest.approx(-7.0)
    assert row.bwt_std == pytest.approx((14 / 3) ** 0.5)


def test_methods_stand_in_the_order_of_the_paper_and_others_after_them() -> None:
    names = ["new", "stl", "rgo-2", "another", "rgo", "sgd"]
    found = rows([make_record(method=name) for name in names])
    assert [row.method for row in found] == [
        *("rgo", "rgo-2", "sgd", "stl", "another", "new")
    ]
    for row in found[:4]:
        assert papers(row) == published("permuted-mnist", row.method)[:4]


def test_a_single_seed_deviates_by_nothing() -> None:
    (row,) = rows([record_of([80.0, 90.0])])
    assert (row.seeds, row.acc_std, row.bwt_std) == (1, 0.0, 0.0)


def test_the_paper_stands_beside_and_is_subtracted() -> None:
    (row,) = rows([record_of([88.0, 90.0])])
    assert papers(row) == published("permuted-mnist", "rgo")[:4]
    assert row.acc_difference == pytest.approx(89.0 - 91.15)
    assert row.bwt_difference == pytest.approx(-2.0 + 2.05)


def test_differences_are_counted_in_the_papers_deviations() -> None:
    (row,) = rows([record_of([88.0, 90.0])])
    assert row.acc_deviations == pytest.approx((89.0 - 91.15) / 0.20)
    assert row.bwt_deviations == pytest.approx((-2.0 + 2.05) / 0.09)


def test_a_deviation_of_zero_counts_nothing() -> None:
    (row,) = rows([make_record(method="stl")])
    assert (isnan(row.bwt_difference), isnan(row.bwt_deviations)) == (False, True)


@pytest.mark.parametrize(
    ("method", "acc", "agrees"),
    [
        ("rgo", 90.2, True),  # 91.15 ± 0.20: within a point
        ("rgo", 90.1, False),
        ("sgd", 53.9, True),  # 46.11 ± 3.91: within two deviations
        ("sgd", 54.0, False),
        ("mine", 91.0, False),
    ],
)
def test_to_agree_is_two_deviations_or_a_point_whichever_is_more(
    method: str, acc: float, agrees: bool
) -> None:
    (row,) = rows([record_of([acc, acc], method=method)])
    assert bool(row.agrees) is agrees


def test_a_variant_of_the_method_is_compared() -> None:
    (row,) = rows([make_record(variant="damping=1,per=batch")])
    assert row.paper_acc == 91.15


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": "permuted-digits"},
        {"method": "mine"},
        {"network": "lenet-5"},
        {"variant": "per=batch,tasks=6"},
        {"variant": "lr=0.05"},
        {"variant": "data=fashion"},
        {"stream": "rotated-mnist", "variant": "angles=drawn"},
    ],
)
def test_another_experiment_than_the_papers_is_not_compared(
    changes: dict[str, str],
) -> None:
    (row,) = rows([make_record(**changes)])
    differences = (row.acc_difference, row.bwt_difference)
    deviations = (row.acc_deviations, row.bwt_deviations)
    assert all(map(isnan, (*papers(row), *differences, *deviations)))


@pytest.mark.parametrize(
    ("stream", "method", "network", "compared"),
    [
        ("permuted-mnist", "rgo", "mlp-glorot", True),
        ("permuted-mnist", "rgo", "resnet-18", False),
        ("split-cifar100", "sgd", "resnet-18", True),
        ("split-cifar100", "sgd", "resnet-18-bn", True),
        ("split-cifar100", "rgo", "resnet-18-bn", False),
        ("split-cifar100", "stl", "lenet-5", False),
    ],
)
def test_a_network_that_stands_for_the_papers_is_compared(
    stream: str, method: str, network: str, compared: bool
) -> None:
    names = {"stream": stream, "method": method, "network": network}
    (row,) = rows([make_record(variant=f"network={network}", **names)])
    if compared:
        assert papers(row) == published(stream, method)[:4]
    else:
        assert all(map(isnan, papers(row)))


def test_lines_have_the_numbers_as_they_are() -> None:
    records = [record_of([88.0, 90.0]), make_record(method="mine")]
    lines = accuracy_sheet(records).lines
    assert list(lines) == COLUMNS
    ours, mine = lines.to_dict("records")
    assert (ours["stream"], ours["acc"]) == ("permuted-mnist", 89.0)
    assert ours["acc_difference"] == pytest.approx(89.0 - 91.15)
    assert isnan(mine["paper_bwt_std"])


def test_a_stream_that_is_not_registered_has_a_row_too() -> None:
    (row,) = rows([make_record(stream="split-cifar100", network="resnet-18")])
    assert papers(row) == published("split-cifar100", "rgo")[:4]


def test_no_records_make_no_rows() -> None:
    assert rows([]) == []
