import pytest
from bench.sample_records import make_record, record_of

from rgo_bench.paper.published import published
from rgo_bench.report.tables import spread_of, table_lines, table_rows


def test_a_row_has_the_mean_and_the_population_deviation_over_the_seeds() -> None:
    lasts = [[80.0, 90.0], [84.0, 90.0], [85.0, 90.0]]
    records = [record_of(last, seed=seed) for seed, last in enumerate(lasts)]
    (row,) = table_rows(records)
    assert row.seeds == 3
    assert row.acc.mean == pytest.approx(86.5)
    assert row.acc.std == pytest.approx((3.5 / 3) ** 0.5)
    assert row.bwt.mean == pytest.approx(-7.0)
    assert row.bwt.std == pytest.approx((14 / 3) ** 0.5)


def test_a_single_seed_deviates_by_nothing() -> None:
    (row,) = table_rows([record_of([80.0, 90.0])])
    assert (row.seeds, row.acc.std, row.bwt.std) == (1, 0.0, 0.0)


def test_the_paper_stands_beside_and_is_subtracted() -> None:
    (row,) = table_rows([record_of([88.0, 90.0])])
    assert row.paper == published("permuted-mnist", "rgo")
    assert row.acc_difference == pytest.approx(89.0 - 91.15)
    assert row.bwt_difference == pytest.approx(-2.0 + 2.05)


def test_differences_are_counted_in_the_papers_deviations() -> None:
    (row,) = table_rows([record_of([88.0, 90.0])])
    assert row.acc_deviations == pytest.approx((89.0 - 91.15) / 0.20)
    assert row.bwt_deviations == pytest.approx((-2.0 + 2.05) / 0.09)


def test_a_deviation_of_zero_counts_nothing() -> None:
    (row,) = table_rows([make_record(method="stl")])
    assert (row.bwt_difference is None, row.bwt_deviations) == (False, None)


@pytest.mark.parametrize(
    ("method", "acc", "agrees"),
    [
        ("rgo", 90.2, True),  # 91.15 ± 0.20: within a point
        ("rgo", 90.1, False),
        ("sgd", 53.9, True),  # 46.11 ± 3.91: within two deviations
        ("sgd", 54.0, False),
        ("mine", 91.0, None),
    ],
)
def test_to_agree_is_two_deviations_or_a_point_whichever_is_more(
    method: str, acc: float, agrees: bool | None
) -> None:
    (row,) = table_rows([record_of([acc, acc], method=method)])
    assert row.agrees is agrees


def test_a_variant_of_the_method_is_compared() -> None:
    (row,) = table_rows([make_record(variant="damping=1,per=batch")])
    assert row.paper is not None


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
    (row,) = table_rows([make_record(**changes)])
    assert (row.paper, row.acc_difference, row.bwt_difference) == (None, None, None)
    assert (row.acc_deviations, row.bwt_deviations) == (None, None)


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
    (row,) = table_rows([make_record(variant=f"network={network}", **names)])
    assert row.paper == (published(stream, method) if compared else None)


def test_lines_have_the_numbers_as_they_are_under_a_header() -> None:
    rows = table_rows([record_of([88.0, 90.0]), make_record(method="mine")])
    header, first, second = (list(line) for line in table_lines(rows))
    assert len(header) == len(first) == len(second) == len(set(header))
    ours = dict(zip(header, first, strict=True))
    assert (ours["stream"], ours["acc"]) == ("permuted-mnist", 89.0)
    assert ours["acc_difference"] == pytest.approx(89.0 - 91.15)
    assert dict(zip(header, second, strict=True))["paper_bwt_std"] is None


def test_a_spread_is_that_of_the_population() -> None:
    assert spread_of(iter([1.0, 3.0])) == (2.0, 1.0)


def test_a_stream_that_is_not_registered_has_a_row_too() -> None:
    (row,) = table_rows([make_record(stream="split-cifar100", network="resnet-18")])
    assert row.paper == published("split-cifar100", "rgo")


def test_no_records_make_no_rows() -> None:
    assert table_rows([]) == []
