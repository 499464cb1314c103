"""Networks that end in softmax or sigmoid, whose outputs are no logits."""

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import batches, mlp
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments

LAST = "4.weight"


def ending_in(last: nn.Module) -> nn.Module:
    model = mlp()
    return nn.Sequential(*model, last)


def moments_of(model: nn.Module, **options: object) -> dict[str, Tensor]:
    data = [(x.double(), y) for x, y in batches(4)]
    found = second_moments(model.double(), data, **options)  # type: ignore[arg-type]
    return {name: moment[0] for name, moment in found.items()}


def test_the_exact_curvature_of_log_probabilities_is_that_of_logits() -> None:
    plain = moments_of(mlp(), curvature="exact", reduce="rms")
    logs = moments_of(ending_in(nn.LogSoftmax(-1)), curvature="exact", reduce="rms")
    for name, moment in plain.items():
        assert_near(logs[name], moment, amplification=100)


def test_samples_that_are_fitted_count_for_log_probabilities_as_for_logits() -> None:
    with torch.no_grad():
        plain, logs = mlp(), ending_in(nn.LogSoftmax(-1))
        for model in (plain, logs):
            model[4].weight.mul_(30)
    before, after = moments_of(plain), moments_of(logs)
    for name in ("0.weight", "2.weight"):
        share = after[name].trace() / before[name].trace()
        assert 0.3 < share < 3


@pytest.mark.parametrize(
    ("last", "options"), [(nn.Softmax(-1), {}), (nn.Sigmoid(), {"loss": "binary"})]
)
def test_probabilities_are_warned_of(
    last: nn.Module, options: dict[str, object]
) -> None:
    model = ending_in(last)
    data = batches(4)
    if options:
        data = [(x, model(x).detach().round()) for x, _ in data]
    with pytest.warns(UserWarning, match="outputs look like probabilities"):
        second_moments(model, data, **options)  # type: ignore[arg-type]
