"""The vectors of every kind of layer are its gradients, sample by sample."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence
from torch_backend.observed_kinds import B, Case, assert_observed, ids, normal

from rgo_torch.layers.transformed import TransformedLayer

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
