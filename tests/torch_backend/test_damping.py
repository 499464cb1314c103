from functools import partial
from typing import Any

import pytest
from torch_backend.nets import mlp, sgd

from rgo_core.damping import Damping
from rgo_torch import RGO, Relative, measured_damping, second_moments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("batch", "rms"), "damping must be given for per='batch', reduce='rms'"),
        (("task", "mean"), "per must be 'sample' .* got 'task'"),
        (("batch", "sum"), "reduce must be 'mean' .* got 'sum'"),
    ],
)
def test_no_damping_is_made_up(options: tuple[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured_damping(*options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.3),
        ({"observe": partial(second_moments, curvature="ground-truth")}, 0.1),
        ({"normalize": "weights"}, 0.03),
        ({"encode": False}, 0.3),
        ({"encode": False, "normalize": "weights"}, 0.01),
        ({"observe": partial(second_moments, per="batch")}, 0.01),
        ({"observe": partial(second_moments, reduce="rms")}, 1.0),
        ({"project": "update"}, Relative(0.3)),
        (
            {"project": "update", "observe": partial(second_moments, per="sample")},
            Relative(0.03),
        ),
    ],
)
def test_the_damping_that_is_left_out_is_the_number_that_was_measured(
    options: dict[str, Any], expected: Damping
) -> None:
    model = mlp()
    assert RGO(model, sgd(model), **options).damping == expected
