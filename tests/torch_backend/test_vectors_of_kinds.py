"""Layers whose samples are hard to tell, and vectors that are left to them."""

import re
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
    (found,) = second_moments(model, [x], score=score).values()
    (total,) = torch.autograd.grad(score(model, x).sum(), model.scale)
    assert_near(found.diagonal, total.flatten() ** 2)
    assert int(found.count) == 1


class TimeFirst(nn.Module):
    """Puts time first for a layer of its own, as recurrent networks take it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


FIRST_AXIS = "^layer: the samples are not along the first axis of its inputs, which has"


def test_rows_that_are_not_samples_have_a_vector_each_and_are_warned_of() -> None:
    torch.manual_seed(0)
    model, x = TimeFirst(nn.Linear(3, 2).double()), normal(B, 4, 3)
    options = {"score": score, "per": "position"}
    expected = second_moments(model, [x], **options)
    for data in ([x], list(x.split(1))):
        with pytest.warns(UserWarning, match=f"{FIRST_AXIS} 4 entries where the batch"):
            found = second_moments(model, data, score=score)
        for name, moment in found.items():
            assert_near(moment.matrix, expected[name].matrix)


def test_a_layer_whose_rows_are_not_samples_is_warned_of_once_a_pass() -> None:
    model = TimeFirst(nn.Linear(3, 2).double())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second_moments(model, [normal(B, n, 3) for n in (4, 5, 6)], score=score)
    assert len(caught) == 1


@pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.LayerNorm(3)])
@pytest.mark.parametrize("per", ["sample", "position", "batch", None])
def test_time_first_is_warned_of_where_samples_are_asked_for(
    layer: nn.Module, per: str | None
) -> None:
    own = per or ("position" if isinstance(layer, nn.Linear) else "sample")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = TimeFirst(layer).double()
        second_moments(model, [normal(B, 4, 3)], score=score, per=per, reduce="rms")
    assert bool(caught) == (own == "sample")
    assert all(re.match(FIRST_AXIS, str(warning.message)) for warning in caught)


class OwnAttention(nn.Module):
    """Lets positions look at each other; takes a batch, or time first."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.query, self.key = (nn.Parameter(normal(3, 3)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, self.axis)
        mixed = (x @ self.query @ (x @ self.key).mT).softmax(-1) @ x
        return mixed.transpose(0, self.axis)


def test_an_unknown_layer_with_time_first_has_its_vectors_by_sample() -> None:
    x = normal(B, 4, 3)
    torch.manual_seed(0)
    plain = nn.ModuleDict({"layer": OwnAttention(0)})
    torch.manual_seed(0)
    model = TimeFirst(OwnAttention(1))
    expected = second_moments(plain, [x], score=lambda m, x: score(m["layer"], x))
    found = second_moments(model, [x], score=score)
    for name, moment in expected.items():
        assert moment.matrix.any()
        assert_near(found[name].matrix, moment.matrix)


def test_an_embedding_with_time_first_is_warned_of_and_has_a_vector_a_position() -> (
    None
):
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.first = nn.Embedding(5, 3).double(), True

        def forward(self, ids: Tensor) -> Tensor:
            if self.first:
                return self.layer(ids.T).transpose(0, 1)
            return self.layer(ids.reshape(-1)).reshape(*ids.shape, -1)

    model, ids = Tokens(), torch.arange(B * 4).reshape(B, 4) % 5
    with pytest.warns(UserWarning, match=f"{FIRST_AXIS} 4 entries"):
        found = second_moments(model, [ids], score=score)
    model.first = False
    joined = second_moments(model, [ids], score=score)
    assert_near(found["layer.weight"].diagonal, joined["layer.weight"].diagonal)


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
