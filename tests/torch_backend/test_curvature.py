"""The second moments equal those of torch.func's per-sample gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_backend import oracle
from torch_backend.layer_kinds import SAME, convolutions
from torch_backend.nets import (
    batch,
    batches,
    mlp,
    plain_copy,
)
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments
from rgo_torch.observation.blocks import BLOCKS

OPTIONS = {
    "per": st.sampled_from(["sample", "batch"]),
    "reduce": st.sampled_from(["mean", "rms"]),
    "curvature": st.sampled_from(["ground-truth", "exact"]),
}


def assert_moments(
    model: nn.Module, data: list, *, groups: dict | None = None, **options: str
) -> None:
    """Compare `second_moments` of a float64 model with the oracle's."""
    found = second_moments(model, data, **options)
    expected = oracle.moments(plain_copy(model), data, groups=groups, **options)
    # A mean over outputs may cancel, and lies below the mean square.
    squares = options | {"reduce": "rms"}
    bounds = oracle.moments(plain_copy(model), data, groups=groups, **squares)
    assert set(found) == set(expected)
    for name, moment in expected.items():
        scale = float(np.linalg.norm(bounds[name]))
        assert_near(found[name].matrix, torch.from_numpy(moment), scale=scale)


@pytest.mark.filterwarnings(SAME)
@given(convolution=convolutions(), **OPTIONS)
def test_a_convolution_of_any_kind_is_observed_like_per_sample_gradients(
    convolution: nn.Conv2d, **options: str
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    head = nn.Linear(convolution(x)[0].numel(), 3, dtype=torch.float64)
    model = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), head)
    groups = {"0.weight": convolution.groups}
    assert_moments(model, [(x, torch.tensor([0, 2, 1]))], groups=groups, **options)


@given(positions=st.sampled_from([(), (3,), (2, 3)]), **OPTIONS)
def test_a_linear_layer_is_observed_like_per_sample_gradients(
    positions: tuple[int, ...], **options: str
) -> None:
    torch.manual_seed(0)
    hidden = nn.Linear(5, 6)
    area = torch.Size(positions).numel()
    model = nn.Sequential(hidden, nn.Tanh(), nn.Flatten(), nn.Linear(6 * area, 3))
    x = torch.randn(4, *positions, 5, dtype=torch.float64)
    assert_moments(model.double(), [(x, torch.tensor([0, 2, 1, 1]))], **options)


def test_several_batches_add_up_across_blocks() -> None:
    model = mlp().double()
    data = [(x.double(), y) for x, y in batches(4, size=max(BLOCKS) // 2 + 1)]
    assert_moments(model, data)
    assert int(second_moments(model, data)["0.weight"].count) == 4 * len(data[0][0])


def test_per_sample_vectors_do_not_depend_on_the_batch_size() -> None:
    model, (x, y) = mlp().double(), batch(12)
    whole = second_moments(model, [(x.double(), y)])
    parts = zip(x.double().split(5), y.split(5), strict=True)
    for name, moment in second_moments(model, parts).items():
        assert_near(moment.matrix, whole[name].matrix)


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


class Tied(nn.Module):
    """Gives two layers one weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
        self.second.weight = self.first.weight
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


@pytest.mark.parametrize("kind", [Twice, Tied])
@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize("reduce", ["mean", "rms"])
@pytest.mark.parametrize("curvature", ["ground-truth", "exact"])
def test_a_weight_that_serves_twice_has_the_sum_of_both_gradients(
    kind: type[nn.Module], per: str, reduce: str, curvature: str
) -> None:
    x = torch.randn(4, 5, dtype=torch.float64)
    options = {"per": per, "reduce": reduce, "curvature": curvature}
    assert_moments(kind().double(), [(x, torch.tensor([0, 2, 1, 1]))], **options)


def test_a_model_in_bfloat16_is_observed_in_float32() -> None:
    model = mlp().bfloat16()
    data = [(x.bfloat16(), y) for x, y in batches()]
    found = second_moments(model, data)
    expected = second_moments(
        mlp().bfloat16().float(), [(x.float(), y) for x, y in data]
    )
    for name, moment in expected.items():
        assert found[name].matrix.dtype == torch.float64
        error = torch.dist(found[name].matrix, moment.matrix)
        assert error <= 32 * torch.finfo(torch.bfloat16).eps * moment.matrix.norm()


def test_the_pass_works_under_autocast() -> None:
    model = mlp()
    expected = second_moments(model, batches())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = second_moments(model, batches())
    for name, moment in expected.items():
        error = torch.dist(found[name].matrix, moment.matrix)
        assert error <= 32 * torch.finfo(torch.bfloat16).eps * moment.matrix.norm()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"per": "epoch"}, "per must be None or 'sample' .* got 'epoch'"),
        ({"reduce": "max"}, "reduce must be None or 'mean' .* got 'max'"),
        ({"curvature": "full"}, "must be 'ground-truth' or 'floored' or 'exact'"),
    ],
)
def test_unknown_options_are_refused(option: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), batches(), **option)


def test_no_batches_are_refused() -> None:
    message = (
        "at least one batch, got none: a generator gives its batches once, a loader "
        "with drop_last=True none of too few samples"
    )
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), iter(()))


def test_a_score_that_depends_on_no_layer_is_refused() -> None:
    for score in (
        lambda model, x: model(x).detach().sum(-1),
        lambda model, x: x.clone().requires_grad_().sum(-1),
        lambda model, x: (model(x).detach() + torch.zeros(1).requires_grad_()).sum(-1),
    ):
        with pytest.raises(ValueError, match="no score depends on the output"):
            second_moments(mlp(), [batch()[0]], score=score)


def test_numbers_that_are_not_finite_are_refused() -> None:
    x, y = batch()
    with pytest.raises(ValueError, match="logits must be numbers, got NaN"):
        second_moments(mlp(), [(x * torch.nan, y)])
    with pytest.raises(ValueError, match="score of a batch must be finite"):
        second_moments(mlp(), [x], score=lambda model, x: model(x * torch.inf).sum(-1))
    model = nn.Linear(12, 4, bias=False)
    nn.init.constant_(model.weight, 1e-30)
    huge = torch.full((2, 12), 1e38)
    with pytest.raises(ValueError, match="weight: vectors must be finite, got 24 NaN"):
        second_moments(model, [huge], score=lambda model, x: 1e3 * model(x).sum(-1))
