import re

import pytest
from bench.sample_records import make_record

from rgo_bench.records.groups import Run, group_by_run

RUN = Run("permuted-mnist", "rgo", "", "mlp", "torch")


def test_the_seeds_of_a_run_come_together() -> None:
    records = [make_record(seed=seed) for seed in (2, 0)]
    other = make_record(method="sgd")
    assert group_by_run([records[0], other, records[1]]) == {
        RUN: records,
        RUN._replace(method="sgd"): [other],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"stream": "rotated-mnist"},
        {"variant": "per=batch"},
        {"network": "lenet-5"},
        {"backend": "jax"},
    ],
)
def test_whatever_else_differs_is_another_run(change: dict[str, str]) -> None:
    assert len(group_by_run([make_record(), make_record(**change)])) == 2


def test_methods_stand_in_the_order_of_their_names() -> None:
    groups = group_by_run([make_record(method=name) for name in ("sgd", "new", "rgo")])
    assert [run.method for run in groups] == ["new", "rgo", "sgd"]


def test_defaults_stand_before_variants() -> None:
    variants = ["tasks=6", "", "per=batch"]
    groups = group_by_run([make_record(variant=name) for name in variants])
    assert [run.variant for run in groups] == ["", "per=batch", "tasks=6"]


def test_a_label_names_the_method_and_its_variant() -> None:
    assert RUN.label == "rgo"
    assert RUN._replace(variant="per=batch").label == "rgo (per=batch)"


def test_seeds_with_different_configurations_are_refused() -> None:
    records = [
        make_record(seed=0, config={"damping": 0.01, "lr": 0.1}),
        make_record(seed=1, config={"damping": 0.03, "lr": 0.1, "encode": True}),
    ]
    message = (
        "rgo on permuted-mnist: expected one configuration for all seeds, got: damping "
        "is 0.01 for seed 0 and 0.03 for seed 1; encode is None for seed 0 and True "
        "for seed 1"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        group_by_run(records)
