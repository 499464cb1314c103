"""What layers give out is theirs, and a layer is called again as it was called."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch_backend.audited import MENDED, Twice, by_hand, made, sequences
from torch_backend.nets import CLASSES, FEATURES, batches

from rgo_torch import FeatureEncoder, second_moments


class Read(nn.Module):
    """A layer between an embedding and a head, with a hook on what it gives out."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.layer: Any = {
            "norm": lambda: nn.LayerNorm(4),
            "cell": lambda: nn.GRU(4, 4, batch_first=True),
            "table": nn.Identity,
        }[kind]()
        self.head = nn.Linear(4, CLASSES)
        hooked = self.table if kind == "table" else self.layer
        hooked.register_forward_hook(self.scaled)

    @staticmethod
    def scaled(module: nn.Module, args: Any, output: Any) -> Any:
        return (7 * output[0], output[1]) if isinstance(output, tuple) else 7 * output

    def forward(self, ids: Tensor) -> Tensor:
        """Look the rows up in two calls."""
        rows = torch.stack([self.table(ids[:, ::2]), self.table(ids[:, 1::2])]).mean(0)
        found = self.layer(rows)
        return self.head((found[0] if isinstance(found, tuple) else found).mean(1))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("norm", "layer.weight"),
        ("cell", "layer.weight_hh_l0"),
        ("table", "head.weight"),
    ],
)
def test_a_hook_on_what_a_layer_gives_out_is_no_part_of_it(
    kind: str, name: str
) -> None:
    model = made(lambda: Read(kind))
    generator = torch.Generator().manual_seed(3)
    ids, y = (
        torch.randint(top, size, generator=generator)
        for top, size in ((7, (5, 6)), (CLASSES, (5,)))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = second_moments(model, [(ids, y)], per="sample", reduce="rms")
    for own, outputs in (("table.weight", 1), (name, 0)):
        kept, expected = found[own][0], by_hand(model, [(ids, y)], own, outputs)
        expected = expected if kept.ndim == 2 else np.diag(expected)
        np.testing.assert_allclose(kept, expected, rtol=1e-9)


def test_batches_of_one_stay_apart_where_joined_ones_could_not_be_told() -> None:
    class Bags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bags, self.head = (
                nn.EmbeddingBag(7, 4, mode="sum"),
                nn.Linear(4, CLASSES),
            )

        def forward(self, ids: Tensor) -> Tensor:
            offsets = torch.arange(0, ids.numel(), ids.shape[1])
            return self.head(self.bags(ids.reshape(-1), offsets))

    model, generator = made(Bags), torch.Generator().manual_seed(3)
    data = [
        (torch.randint(7, (1, 5), generator=generator), torch.tensor([n % CLASSES]))
        for n in range(6)
    ]
    found = second_moments(model, data, reduce="rms")["bags.weight"].diagonal
    expected = np.diag(by_hand(model, data, "bags.weight", 1))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


class Overwriting(nn.Module):
    """Overwrites what linear layers return for positions, which is a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.first(x), inplace=True)
        hidden = self.second(hidden)
        hidden *= 0.01
        return self.head(hidden.mean(1))


@pytest.mark.parametrize("name", ["first.weight", "second.weight"])
def test_what_is_overwritten_was_still_given_out(name: str) -> None:
    model, data = made(Overwriting), sequences(1, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = second_moments(model, data, per="sample", reduce="rms")[name]
    np.testing.assert_allclose(found.matrix, by_hand(model, data, name, 0), rtol=1e-9)


class Reversed(torch.autograd.Function):
    """Of the older kind, which `torch.func` cannot take apart."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Turned(Twice):
    def forward(self, x: Tensor) -> Tensor:
        turned = Reversed.apply(self.own(x))  # type: ignore[no-untyped-call]
        return self.head(self.own.back(turned))


def test_what_torch_func_cannot_take_apart_is_summed_over_the_batch() -> None:
    model, data = made(Turned), [(x.double(), y) for x, y in batches(1, 5)]
    with pytest.warns(UserWarning, match=MENDED), pytest.warns(match="one curvature"):
        found = second_moments(model, data, reduce="rms")["own.codes"]
    (x, y) = data[0]
    logits = model(x)
    p = logits.detach().softmax(-1)[range(5), y]
    total = (logits[range(5), y] * (p * (1 - p)).sqrt()).sum()
    (gradient,) = torch.autograd.grad(total, model.own.codes)
    torch.testing.assert_close(found.matrix, gradient @ gradient.T / FEATURES)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_recurrence_stays_encoded_where_parameters_are_replaced(kind: Any) -> None:
    """A fused module makes the list of its weights anew in the next forward."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = kind(3, 5, batch_first=True)
            self.head = nn.Linear(5, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cell(x)[0].mean(1))

    model, ((x, _),) = made(Recurrent), sequences(1, 4)
    FeatureEncoder(model, seed=0).set_task(1)
    expected = model(x)
    copies = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.testing.assert_close(functional_call(model, copies, (x,)), expected)
    torch.testing.assert_close(model(x), expected)
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    torch.testing.assert_close(model(x), expected)


class Chosen(nn.Module):
    """Multiplies the samples that it chooses, in some batches none."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        chosen = x[:, 0] > 0
        out = x.clone()
        if chosen.any():  # which no function of samples can look at
            out[chosen] = x[chosen] @ self.matrix
        return out


def test_a_batch_may_leave_a_parameter_out() -> None:
    torch.manual_seed(0)
    first = nn.Linear(FEATURES, FEATURES)
    nn.init.eye_(first.weight)
    nn.init.zeros_(first.bias)
    model = nn.Sequential(first, Chosen(), nn.Linear(FEATURES, CLASSES))
    x, y = torch.rand(3, FEATURES) + 0.1, torch.arange(3)
    with pytest.warns(UserWarning, match="one curvature vector for each batch"):
        alone = second_moments(model, [(x, y)])["1.matrix"].matrix
    with pytest.warns(UserWarning, match="one curvature vector for each batch"):
        both = second_moments(model, [(x, y), (-x, y)])["1.matrix"]
    assert float(alone.norm()) > 0
    torch.testing.assert_close(both.matrix, alone)
