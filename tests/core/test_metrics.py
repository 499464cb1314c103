import numpy as np
import pytest
from core.backends import Backend
from core.tolerance import assert_close

from rgo_core import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    learning_accuracy,
)

NAN = np.nan
ACCURACY = np.asarray([[90.0, NAN, NAN], [95.0, 88.0, NAN], [80.0, 85.0, 93.0]])
AHEAD = np.asarray([[90.0, 20.0, 5.0], [95.0, 88.0, 13.0], [80.0, 85.0, 93.0]])
UNTRAINED = np.asarray([NAN, 8.0, 10.0])
ONE_TASK = np.asarray([[91.0]])


@pytest.mark.parametrize(
    ("metric", "accuracy", "expected"),
    [
        (average_accuracy, ACCURACY, (80 + 85 + 93) / 3),
        (backward_transfer, ACCURACY, ((80 - 90) + (85 - 88)) / 2),
        (forgetting, ACCURACY, ((95 - 80) + (88 - 85)) / 2),
        (learning_accuracy, ACCURACY, (90 + 88 + 93) / 3),
        (average_accuracy, ONE_TASK, 91),
        (backward_transfer, ONE_TASK, 0),
        (forgetting, ONE_TASK, 0),
        (learning_accuracy, ONE_TASK, 91),
    ],
)
def test_metrics_are_those_counted_by_hand(
    backend: Backend, metric: object, accuracy: np.ndarray, expected: float
) -> None:
    result = backend.call(metric, accuracy)
    assert result.shape == ()
    assert_close(result, np.asarray(float(expected)))


def test_forward_transfer_is_what_a_task_gains_before_its_training(
    backend: Backend,
) -> None:
    result = backend.call(forward_transfer, AHEAD, UNTRAINED)
    assert_close(result, np.asarray(((20 - 8) + (13 - 10)) / 2))
    assert backend.call(forward_transfer, ONE_TASK, np.asarray([10.0])) == 0


def test_forward_transfer_is_unknown_where_nothing_was_tested_ahead(
    backend: Backend,
) -> None:
    assert np.isnan(backend.call(forward_transfer, ACCURACY, UNTRAINED))


@pytest.mark.parametrize("metric", [average_accuracy, backward_transfer, forgetting])
def test_an_incomplete_last_row_is_unknown(backend: Backend, metric: object) -> None:
    accuracy = ACCURACY.copy()
    accuracy[-1, 0] = NAN
    assert np.isnan(backend.call(metric, accuracy))


def test_forgetting_is_unknown_where_a_task_was_not_tested_before_the_last(
    backend: Backend,
) -> None:
    accuracy = ACCURACY.copy()
    accuracy[:-1, 1] = NAN
    assert np.isnan(backend.call(forgetting, accuracy))


def test_learning_accuracy_is_unknown_where_the_diagonal_is(backend: Backend) -> None:
    accuracy = ACCURACY.copy()
    accuracy[1, 1] = NAN
    assert np.isnan(backend.call(learning_accuracy, accuracy))


def test_a_task_that_improves_is_forgotten_less_than_nothing(
    backend: Backend,
) -> None:
    accuracy = np.asarray([[80.0, NAN], [90.0, 95.0]])
    assert backend.call(forgetting, accuracy) == -10
    assert backend.call(backward_transfer, accuracy) == 10
