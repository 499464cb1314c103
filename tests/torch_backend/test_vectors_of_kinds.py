"""Layers whose samples are hard to tell, and vectors that are left to them."""

import warnings
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch_backend.observed_kinds import (
    B,
    Case,
    assert_observed,
    normal,
    score,
)
from torch_backend.tolerance import assert_near

from rgo_torch import Axes, Channels, register_layout, second_moments
from rgo_torch.layers.kinds import KINDS


class Gated(nn.Module):
    """A made-up layer: a product, a gate by entry, and parameters used directly."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(3, 4))
        self.gate = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.matrix) * self.gate.sigmoid()


@pytest.mark.parametrize("reduce", ["mean", "rms"])
def test_a_kind_of_ones_own(reduce: str) -> None:
    torch.manual_seed(0)
    register_layout(
        Gated,
        {"matrix": Axes(inputs=(0,), outputs=(1,))},
        channels=lambda module: Channels(4),
    )
    try:
        assert_observed(Case(Gated(), normal(B, 2, 3)), reduce)
    finally:
        del KINDS[Gated]


def test_a_tied_embedding_and_head_share_the_axes_of_the_head() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)).double()
    model[1].weight = model[0].weight
    x = torch.tensor([[0, 1], [1, 4], [2, 2]])
    (found,) = second_moments(model, [x], score=score).values()
    outputs: list[Tensor] = []
    handle = model[0].register_forward_hook(lambda *call: outputs.append(call[-1]))
    total = score(model, x)
    handle.remove()
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        (d,) = torch.autograd.grad(total[i], outputs[0], retain_graph=True)
        tokens = torch.zeros(5, 3, dtype=torch.float64).index_add_(0, x[i], d[i])
        expected += tokens.mT @ tokens / 5  # looked up
    head = nn.Linear(3, 5, bias=False).double()
    head.weight = nn.Parameter(model[1].weight.detach())
    features = outputs[0].detach()
    (of_head,) = second_moments(head, [features], score=score).values()
    assert_near(found.matrix, expected + of_head.matrix, amplification=64)


class Router(nn.Module):
    """Sends each token to an expert that depends on its values."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(2, 3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        chosen = (x.sum(-1) > 0).long()
        out = torch.zeros_like(x)
        for expert in range(2):
            rows = (chosen == expert).nonzero()[:, 0]
            out[rows] = x[rows] * self.scale[expert]
        return out


def test_what_looks_at_values_is_observed_by_the_sum_over_a_batch() -> None:
    torch.manual_seed(0)
    model, x = Router(), normal(B, 3)
    with pytest.warns(UserWarning, match="the model: one curvature vector for each ba"):
        (found,) = second_moments(model, [x], score=score).values()
    (total,) = torch.autograd.grad(score(model, x).sum(), model.scale)
    assert_near(found.diagonal, total.flatten() ** 2)
    assert int(found.count) == 1


class Hypernetwork(nn.Module):
    """Has the weights of its one layer made by another, from what all samples share."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("context", torch.ones(1, 2))
        self.maker = nn.Linear(2, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.maker(self.context).reshape(3, 2)


def test_of_what_samples_share_batches_are_not_joined_and_it_is_warned_of() -> None:
    torch.manual_seed(0)
    model, labels = Hypernetwork(), torch.arange(8) % 2
    batches = [(torch.randn(8, 3), labels) for _ in range(5)]
    with pytest.warns(UserWarning, match="maker: one curvature vector for each batch"):
        found = second_moments(model, batches)
    assert int(found["maker.bias"].count) == 5
    assert int(torch.linalg.matrix_rank(found["maker.bias"].matrix)) == 5
    whole = [tuple(torch.cat(part) for part in zip(*batches, strict=True))]
    with pytest.warns(UserWarning, match="give end_task small ones"):
        assert int(second_moments(model, whole)["maker.bias"].count) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = second_moments(model, whole, chunk_size=1)
    assert int(torch.linalg.matrix_rank(alone["maker.bias"].matrix)) == 6


def test_vectors_that_are_left_to_a_layer_are_those_of_positions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
    x = normal(B, 2, 3)
    found = second_moments(model, [x], score=score, per=None, reduce=None)
    by_hand = second_moments(model, [x], score=score, per="position", reduce="rms")
    for name, moment in found.items():
        assert torch.equal(moment[0], by_hand[name][0])


class Gate(nn.Module):
    def __init__(self, ways: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, ways)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).softmax(-1)


BEFORE_ZERO_SUMS = {
    "layer norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)),
    "softmax": lambda: Gate(4),
    "softmax of two": lambda: Gate(2),
    "group norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", BEFORE_ZERO_SUMS)
def test_a_mean_that_cancels_is_a_contrast(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = BEFORE_ZERO_SUMS[name]().to(dtype)
    x = normal(B, 3, 1, 1) if name == "group norm" else normal(B, 2, 3)
    observed = partial(second_moments, model, [x.to(dtype)], score=score)
    weight = "layer.weight" if "softmax" in name else "0.weight"
    found = observed()[weight]
    # As large as that of unrelated outputs: 1 / m of the sum that cannot cancel.
    outputs = len(model.get_parameter(weight))
    whole = observed(reduce="rms")[weight].matrix.trace() / outputs
    assert whole / 16 < found.matrix.trace() < 16 * whole


def test_all_of_the_curvature_has_the_plain_mean() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
    pairs = [(normal(B, 3), torch.arange(B))]
    found = second_moments(model, pairs, curvature="exact")["0.weight"].matrix
    assert found.norm() < 1e-20


def test_vectors_that_are_left_to_a_convolution_are_the_mean_of_a_sample() -> None:
    torch.manual_seed(0)
    model, x = nn.Conv2d(2, 3, 2).double(), normal(B, 2, 4, 4)
    found = second_moments(model, [x], score=score, per=None, reduce=None)
    for name, moment in second_moments(model, [x], score=score).items():
        assert torch.equal(moment.matrix, found[name].matrix)
