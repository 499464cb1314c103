import re
from typing import Any

import numpy as np
import pytest
from bench.sample_records import MATRIX, make_record

from rgo_bench.records import percent_rows

SECONDS = {"train": 1.0, "curvature": 1.0, "consolidate": 1.0, "evaluate": 1.0}


def test_entries_are_rounded_and_what_was_not_tested_is_none() -> None:
    assert percent_rows(MATRIX) == ((90.0, None), (80.12, 94.0))


def test_the_matrix_has_nan_where_nothing_was_tested() -> None:
    expected = np.array([[90.0, np.nan], [80.12, 94.0]])
    np.testing.assert_array_equal(make_record().matrix, expected)


def test_the_training_accuracy_is_averaged_where_it_was_measured() -> None:
    assert make_record().train_acc is None
    record = make_record(train_accuracy=(99.0, 98.5))
    assert record.train_acc == pytest.approx(98.75)


def test_the_metrics_come_from_the_matrix() -> None:
    record = make_record()
    assert record.acc == pytest.approx((80.12 + 94.0) / 2)
    assert record.bwt == pytest.approx(80.12 - 90.0)
    alone = make_record(accuracy=((91.5,),))
    assert (alone.acc, alone.bwt) == (91.5, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream": ""}, "stream: expected a name, got ''"),
        ({"method": None}, "method: expected a name, got None"),
        ({"network": 3}, "network: expected a name, got 3"),
        ({"backend": ""}, "backend: expected a name, got ''"),
        ({"variant": None}, "variant: expected a text, got None"),
        ({"variant": "batch"}, "variant: expected key=value,key=value or nothing"),
        ({"seed": -1}, "seed: expected an integer of at least 0, got -1"),
        ({"seed": 1.0}, "seed: expected an integer of at least 0, got 1.0"),
        ({"seed": True}, "seed: expected an integer of at least 0, got True"),
        ({"config": [1]}, "config: expected values by name, got [1]"),
        ({"environment": {1: 2}}, "environment: expected values by name, got {1: 2}"),
        ({"accuracy": ()}, "accuracy: expected as many columns as rows, and one"),
        ({"accuracy": ((1.0, 2.0),)}, "accuracy: expected as many columns as rows"),
        (
            {"accuracy": ((None, None), (80.0, 90.0))},
            "accuracy: expected percent on task 0 after task 0, got None",
        ),
        (
            {"accuracy": ((90.0, None), (None, 90.0))},
            "accuracy: expected percent on task 0 after task 1, got None",
        ),
        (
            {"accuracy": ((90.0, None), (80.0, 100.5))},
            "accuracy: expected percent on task 1 after task 1, got 100.5",
        ),
        (
            {"accuracy": ((float("nan"),),)},
            "accuracy: expected percent on task 0 after task 0, got nan",
        ),
        ({"accuracy": (("9",),)}, "expected percent on task 0 after task 0, got '9'"),
        (
            {"train_accuracy": (99.0,)},
            "train_accuracy: expected percent for each of 2 tasks, got (99.0,)",
        ),
        (
            {"train_accuracy": (99.0, 101.0)},
            "train_accuracy: expected percent for each of 2 tasks, got (99.0, 101.0)",
        ),
        (
            {"train_accuracy": (99.0, None)},
            "train_accuracy: expected percent for each of 2 tasks, got (99.0, None)",
        ),
        ({"seconds": [1.0]}, "seconds: expected values by name, got [1.0]"),
        (
            {"seconds": {"train": 1.0}},
            "seconds: expected train, curvature, consolidate, evaluate, got train",
        ),
        ({"seconds": {}}, "consolidate, evaluate, got none"),
        (
            {"seconds": {**SECONDS, "train": -1.0}},
            "seconds: expected a finite number of at least 0 for train, got -1.0",
        ),
        (
            {"seconds": {**SECONDS, "evaluate": float("inf")}},
            "seconds: expected a finite number of at least 0 for evaluate, got inf",
        ),
    ],
)
def test_what_is_not_a_record_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make_record(**changes)
