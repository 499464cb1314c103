"""The vectors of every kind of layer are its gradients, sample by sample."""

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from array_api_compat import torch as xp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import Axes, Channels, find_layout, register_layout, second_moments
from rgo_torch.layers.kinds import KINDS
from rgo_torch.layers.transformed import TransformedLayer

B = 3


class Case(nn.Module):
    """A module, what it is called with, and what of its outputs counts."""

    def __init__(
        self,
        module: nn.Module,
        inputs: Any,
        call: Callable[[nn.Module, Any], Tensor] = lambda module, x: module(x),
    ) -> None:
        super().__init__()
        self.module = module.double().eval()
        self.inputs, self.call = inputs, call

    def forward(self, x: Any) -> Tensor:
        return self.call(self.module, x)


def score(model: nn.Module, batch: Any) -> Tensor:
    """Weigh every output of a sample by a number of its own: (b,)."""
    outputs = model(batch).flatten(1)
    generator = torch.Generator().manual_seed(outputs.shape[1])
    weights = torch.randn(outputs.shape[1], generator=generator, dtype=torch.float64)
    return (torch.sin(outputs) * weights).sum(-1)


def by_sample(case: Case) -> Iterator[dict[str, Tensor]]:
    """Yield the gradients of one sample after another, by a loop."""
    parameters = dict(case.named_parameters())
    for i in range(B):
        total = score(case, case.inputs)[i]
        found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        yield {
            name: torch.zeros_like(p) if gradient is None else gradient
            for (name, p), gradient in zip(parameters.items(), found, strict=True)
        }


def expected_moments(case: Case, reduce: str) -> dict[str, Tensor]:
    """Sum g g^T over the samples, or the mean of squares over outputs for diagonals."""
    layout = find_layout(case).layers
    axes = {x.full_name(own): each for x in layout for own, each in x.axes.items()}
    totals: dict[str, Any] = {}
    for gradients in by_sample(case):
        for name, gradient in gradients.items():
            rows = rgo_core.to_rows(gradient, axes[name], leading=0, xp=xp)
            if axes[name].diagonal:
                moment = (rows * rows).mean(-2)
            elif reduce == "mean":
                g = rows.mean(-2)
                moment = g[..., :, None] * g[..., None, :]
            else:
                moment = rows.mT @ rows / rows.shape[-2]
            totals[name] = totals.get(name, 0) + moment
    return totals


def assert_observed(case: Case, reduce: str = "mean") -> None:
    expected = expected_moments(case, reduce)
    # Before a normalisation the mean over the outputs cancels.
    scales = expected_moments(case, "rms")
    found = second_moments(case, [case.inputs], reduce=reduce, score=score)
    assert set(found) == set(expected)
    for name, moment in found.items():
        scale = float(scales[name].norm())
        assert_near(moment[0], expected[name], amplification=64, scale=scale)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


small = st.integers(1, 3)
REDUCE = st.sampled_from(["mean", "rms"])


@settings(max_examples=25)
@given(data=st.data(), reduce=REDUCE, dimensions=st.integers(1, 3))
def test_convolutions_of_every_dimension(
    data: st.DataObject, reduce: str, dimensions: int
) -> None:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    torch.manual_seed(0)
    module = kind(
        4,
        data.draw(st.sampled_from([2, 4])),
        data.draw(small),
        stride=data.draw(small),
        padding=data.draw(st.integers(0, 2)),
        dilation=data.draw(st.integers(1, 2)),
        groups=data.draw(st.sampled_from([1, 2])),
        bias=data.draw(st.booleans()),
    )
    assert_observed(Case(module, normal(B, 4, *[6, 5, 5][:dimensions])), reduce)


@settings(max_examples=15)
@given(data=st.data(), reduce=REDUCE, dimensions=st.integers(1, 3))
def test_transposed_convolutions_of_every_dimension(
    data: st.DataObject, reduce: str, dimensions: int
) -> None:
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    stride = data.draw(small)
    torch.manual_seed(0)
    module = kinds[dimensions - 1](
        4,
        data.draw(st.sampled_from([2, 4])),
        data.draw(small),
        stride=stride,
        output_padding=data.draw(st.integers(0, stride - 1)),
        groups=data.draw(st.sampled_from([1, 2])),
        bias=data.draw(st.booleans()),
    )
    assert_observed(Case(module, normal(B, 4, *[4, 3, 2][:dimensions])), reduce)


@settings(max_examples=20)
@given(data=st.data(), reduce=REDUCE)
def test_attention_packed_and_separate(data: st.DataObject, reduce: str) -> None:
    first, cross = data.draw(st.booleans()), data.draw(st.booleans())
    masked = data.draw(st.booleans())
    torch.manual_seed(0)
    module = nn.MultiheadAttention(
        4,
        2,
        bias=data.draw(st.booleans()),
        add_bias_kv=data.draw(st.booleans()),
        add_zero_attn=data.draw(st.booleans()),
        kdim=3 if cross else None,
        vdim=5 if cross else None,
        batch_first=first,
    )
    inputs = [normal(B, 6, 4), normal(B, 5, 3), normal(B, 5, 5)]
    keys = 5 if cross else 6
    padding = torch.zeros(B, keys, dtype=torch.bool)
    padding[:, -1] = masked
    later = torch.ones(6, keys, dtype=torch.bool).triu(1)
    mask = data.draw(st.sampled_from([None, later, normal(2 * B, 6, keys)]))
    if mask is not None and mask.is_floating_point():
        shown = torch.zeros(B, keys, dtype=mask.dtype)  # both masks of one dtype
        padding = shown.masked_fill(padding, float("-inf"))

    def call(module: nn.Module, given: list[Tensor]) -> Tensor:
        given = given if cross else [given[0]] * 3
        given = given if first else [x.transpose(0, 1) for x in given]
        output, _ = module(
            *given, key_padding_mask=padding, need_weights=False, attn_mask=mask
        )
        return output if first else output.transpose(0, 1)

    assert_observed(Case(module, inputs, call), reduce)


@settings(max_examples=25)
@given(data=st.data(), reduce=REDUCE)
def test_recurrent_layers_packed_or_not(data: st.DataObject, reduce: str) -> None:
    kind = data.draw(st.sampled_from([nn.RNN, nn.GRU, nn.LSTM]))
    first, packed = data.draw(st.booleans()), data.draw(st.booleans())
    options: dict[str, Any] = {
        "num_layers": data.draw(st.integers(1, 2)),
        "bias": data.draw(st.booleans()),
        "bidirectional": data.draw(st.booleans()),
        "batch_first": first,
    }
    if kind is nn.LSTM:
        options["proj_size"] = data.draw(st.sampled_from([0, 2]))
    if kind is nn.RNN:
        options["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
    torch.manual_seed(0)
    lengths = torch.tensor([3, 5, 2])

    def call(module: nn.Module, x: Tensor) -> Tensor:
        given: Any = x if first else x.transpose(0, 1)
        if packed:
            given = pack_padded_sequence(
                given, lengths, batch_first=first, enforce_sorted=False
            )
        output, states = module(given)
        if packed:
            output, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=first)
        output = output if first else output.transpose(0, 1)
        finals = states if isinstance(states, tuple) else (states,)
        ends = [state.transpose(0, 1).flatten(1) for state in finals]
        return torch.cat([output.flatten(1), *ends], 1)

    assert_observed(Case(kind(3, 4, **options), normal(B, 5, 3), call), reduce)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_recurrent_layer_with_initial_states(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    states: Any = normal(1, B, 4)
    if kind is nn.LSTM:
        states = (states, normal(1, B, 4))
    case = Case(
        kind(3, 4),
        normal(B, 5, 3),
        lambda module, x: module(x.transpose(0, 1), states)[0].transpose(0, 1),
    )
    assert_observed(case)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells_called_step_by_step_add_up(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)

    def call(module: nn.Module, x: Tensor) -> Tensor:
        states = None
        for step in x.unbind(1):
            states = module(step, states)
        return states[0] if isinstance(states, tuple) else states

    assert_observed(Case(kind(3, 4), normal(B, 4, 3), call))


class PadsItself(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(input, (1, 1, 1, 1)))


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(2 * input).tanh()


ids = torch.tensor([[0, 2, 2, 5], [1, 1, 1, 4], [3, 0, 5, 0]])
OTHERS: dict[str, Callable[[], Case]] = {
    "a convolution that pads": lambda: Case(
        PadsItself(2, 4, 3, groups=2), normal(B, 2, 3, 3)
    ),
    "a subclass of Linear": lambda: Case(Doubled(3, 4), normal(B, 2, 3)),
    "layer norm": lambda: Case(nn.LayerNorm((2, 3)), normal(B, 4, 2, 3)),
    "rms norm": lambda: Case(nn.RMSNorm(3), normal(B, 3)),
    "group norm": lambda: Case(nn.GroupNorm(2, 4), normal(B, 4, 5)),
    "batch norm": lambda: Case(nn.BatchNorm2d(4), normal(B, 4, 3, 3)),
    "instance norm": lambda: Case(nn.InstanceNorm1d(4, affine=True), normal(B, 4, 3)),
    "prelu": lambda: Case(nn.PReLU(4), normal(B, 4, 3)),
    "bilinear": lambda: Case(
        nn.Bilinear(2, 3, 4), normal(B, 3), lambda module, x: module(x[:, :2], x)
    ),
    "embedding": lambda: Case(nn.Embedding(7, 3), ids),
    "embedding with padding": lambda: Case(nn.Embedding(7, 3, padding_idx=0), ids),
    "embedding bag": lambda: Case(nn.EmbeddingBag(7, 3), ids),
    "spectral": lambda: Case(
        parametrizations.spectral_norm(nn.Linear(3, 4)), normal(B, 2, 3)
    ),
    "weight norm": lambda: Case(
        parametrizations.weight_norm(nn.Conv2d(2, 4, 2)), normal(B, 2, 3, 3)
    ),
    "pruned": lambda: Case(
        prune.random_unstructured(nn.Linear(3, 4), "weight", amount=4), normal(B, 3)
    ),
    "transformer layer": lambda: Case(
        nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True), normal(B, 3, 4)
    ),
}


@pytest.mark.filterwarnings("ignore:torch.nn.utils.weight_norm:FutureWarning")
@pytest.mark.parametrize("reduce", ["mean", "rms"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds(name: str, reduce: str) -> None:
    torch.manual_seed(0)
    assert_observed(OTHERS[name](), reduce)


FORMULAS = (
    "layer norm",
    "rms norm",
    "group norm",
    "batch norm",
    "transformer layer",
)


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_spare_calling_a_module_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("called again")

    monkeypatch.setattr(TransformedLayer, "_by_sample", fail)
    torch.manual_seed(0)
    assert_observed(OTHERS[name]())


def test_attention_whose_weights_are_looked_at_is_called_again() -> None:
    torch.manual_seed(0)
    case = Case(
        nn.MultiheadAttention(4, 2, batch_first=True),
        normal(B, 3, 4),
        lambda module, x: torch.cat(module(x, x, x), dim=-1),
    )
    assert_observed(case)


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


def test_vectors_that_are_left_to_a_layer_do_not_cancel_before_a_normalisation() -> (
    None
):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
    x = normal(B, 2, 3)
    none = second_moments(model, [x], score=score)["0.weight"].matrix
    found = second_moments(model, [x], score=score, per=None, reduce=None)
    by_hand = second_moments(model, [x], score=score, per="position", reduce="rms")
    assert none.norm() < 1e-12 * found["0.weight"].matrix.norm()
    for name, moment in found.items():
        assert torch.equal(moment[0], by_hand[name][0])


def test_vectors_that_are_left_to_a_convolution_are_the_mean_of_a_sample() -> None:
    torch.manual_seed(0)
    model, x = nn.Conv2d(2, 3, 2).double(), normal(B, 2, 4, 4)
    found = second_moments(model, [x], score=score, per=None, reduce=None)
    for name, moment in second_moments(model, [x], score=score).items():
        assert torch.equal(moment.matrix, found[name].matrix)
