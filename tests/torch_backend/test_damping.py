from typing import Any

import pytest

from rgo_torch import measured_damping


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
