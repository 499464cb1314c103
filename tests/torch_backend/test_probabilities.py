"""Networks that end in softmax or sigmoid, whose outputs are no logits."""

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import batches, mlp
from torch_backend.tolerance import assert_near

from rgo_torch import label_score, second_moments

Data = list[tuple[Tensor, Tensor]]


def ending_in(last: nn.Module) -> nn.Module:
    model = mlp()
    return nn.Sequential(*model, last)


def moments_of(model: nn.Module, data: Data, **options: object) -> dict[str, Tensor]:
    double = [(x.double(), y) for x, y in data]
    found = second_moments(model.double(), double, **options)  # type: ignore[arg-type]
    return {name: moment[0] for name, moment in found.items()}


def test_the_exact_curvature_of_log_probabilities_is_that_of_logits() -> None:
    plain = moments_of(mlp(), batches(4), curvature="exact", reduce="rms")
    ended = ending_in(nn.LogSoftmax(-1))
    logs = moments_of(ended, batches(4), curvature="exact", reduce="rms")
    for name, moment in plain.items():
        assert_near(logs[name], moment, amplification=100)


def test_samples_that_are_fitted_count_for_log_probabilities_as_for_logits() -> None:
    plain, logs = mlp(), ending_in(nn.LogSoftmax(-1))
    with torch.no_grad():
        for model in (plain, logs[0:5]):
            model[4].weight.mul_(20)
        data = [(x, plain(x).argmax(-1)) for x, _ in batches(4)]
    before, after = (moments_of(model, data) for model in (plain, logs))
    for name in ("0.weight", "2.weight"):
        assert 0.3 < after[name].trace() / before[name].trace() < 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_log_probabilities_are_known_in_half_precision(dtype: torch.dtype) -> None:
    (x, y), *_ = batches(4)
    logs = mlp()(x).detach().log_softmax(-1)
    exact = label_score(logs, y)
    found = label_score(logs.to(dtype), y)
    assert 0.8 < float(found.sum() / exact.sum()) < 1.25


def test_probabilities_of_half_precision_are_warned_of() -> None:
    data = [(x.bfloat16(), y) for x, y in batches(4)]
    with pytest.warns(UserWarning, match="outputs look like probabilities"):
        second_moments(ending_in(nn.Softmax(-1)).bfloat16(), data)


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
