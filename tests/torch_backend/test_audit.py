"""Calls that do not tell a parameter's gradient are found on the first batch."""

import copy
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional
from torch_backend.nets import CLASSES, FEATURES, Given, batches, mlp, sgd, train

from rgo_torch import RGO, FeatureEncoder, second_moments
from rgo_torch.score import cross_entropy_score

LENGTH = 6
MENDED = "does not tell their gradient.*: observed by calling the whole model again"


class Codes(nn.Module):
    """Multiplies by one matrix in its forward and, transposed, in another method."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Parameter(0.3 * torch.randn(FEATURES, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.codes)

    def back(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.codes.T)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own, self.head = Codes(), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.own.back(self.own(x)))


class Mixing(nn.Module):
    """Takes a matrix that all samples share, over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(0.3 * torch.randn(3, 3))

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        return torch.tanh(shared @ x @ self.matrix)


class Mixed(nn.Module):
    """Mixes positions with a constant of `LENGTH` rows."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = Mixing(), nn.Linear(3, CLASSES)
        self.constant = torch.randn(LENGTH, LENGTH, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(x, self.constant).mean(1))


def twice() -> nn.Module:
    return Twice()


def patched() -> nn.Module:
    model = mlp()
    layer = model[0]
    layer.forward = lambda x: functional.linear(x.sin(), 3 * layer.weight, layer.bias)
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(Codes(), nn.Linear(FEATURES, CLASSES))
    model[0].register_forward_pre_hook(lambda module, args: (args[0] ** 2,))
    return model


def made(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double()


def sequences(count: int, size: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    shape = (size, LENGTH, 3)
    return [
        (
            torch.randn(shape, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def by_hand(model: nn.Module, data: Any, name: str, outputs: int) -> np.ndarray:
    """Return the sum of G G^T / m over the samples, from each sample by itself."""
    weights = {own: p.detach() for own, p in model.named_parameters()}

    def score(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(model, weights | {name: weight}, (x[None],))[0]
        p = logits.detach().softmax(-1)[y]
        return logits[y] * (p * (1 - p)).sqrt()

    total: Any = 0
    for x, y in data:
        for sample in zip(x, y, strict=True):
            gradient = grad(score)(weights[name], *sample)
            rows = gradient.reshape(-1, gradient.shape[-1])
            rows = rows if outputs == 0 else rows.T
            total = total + rows.T @ rows / len(rows)
    return total.numpy()


@pytest.mark.parametrize(
    ("make", "name", "outputs"),
    [
        (twice, "own.codes", 1),
        (patched, "0.weight", 0),
        (hooked, "0.codes", 1),
    ],
)
def test_what_calls_do_not_tell_is_observed_by_the_whole_model(
    make: Callable[[], nn.Module], name: str, outputs: int
) -> None:
    model, data = made(make), [(x.double(), y) for x, y in batches(3, 5)]
    x, y = data[0]
    with pytest.warns(UserWarning, match=f"^{name}\\b.*: .*{MENDED}"):
        found = second_moments(model, [(x[:0], y[:0]), *data], reduce="rms")
    expected = by_hand(model, data, name, outputs)
    np.testing.assert_allclose(found[name].matrix, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [LENGTH, LENGTH // 2, LENGTH + 1])
def test_what_all_samples_share_is_not_cut_up_where_it_is_as_long(size: int) -> None:
    """Nor where joining, or a last batch, makes as many samples."""
    model, data = made(Mixed), sequences(3, size)
    if size > LENGTH:
        data += sequences(1, LENGTH)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = second_moments(model, data, reduce="rms")
    assert len(told) == (size == LENGTH)
    expected = by_hand(model, data, "mix.matrix", 1)
    np.testing.assert_allclose(found["mix.matrix"].matrix, expected, rtol=1e-9)


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


class Listed(nn.Module):
    """Multiplies by a weight that it has in a list too, the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = (
            nn.Linear(FEATURES, FEATURES),
            nn.Linear(FEATURES, CLASSES),
        )
        self.kept = [self.inner.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(x)) @ self.kept[0])


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


class Tired(Twice):
    """Runs twice a batch, and no more."""

    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        if self.runs > 2:
            raise RuntimeError("no more")
        return super().forward(x)


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


@pytest.mark.parametrize(
    ("make", "name"), [(Listed, "inner.weight"), (Tired, "own.codes")]
)
def test_what_the_whole_model_does_not_tell_either_is_told_of(
    make: Any, name: str
) -> None:
    data = [(x.double(), y) for x, y in batches(2, 5)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = second_moments(made(make), data[:1])
    assert name in found
    pattern = f"{name}.*may protect little"
    assert any(re.search(pattern, str(warning.message)) for warning in told)


def test_what_no_call_tells_is_said_to_be_protected_little() -> None:
    model = made(twice)

    def score(model: nn.Module, batch: Any) -> Tensor:
        logits = model.head(model.own.back(model.own(batch[0])))
        return cross_entropy_score("ground-truth", None)(Given(logits), batch)

    data = [(x.double(), y) for x, y in batches(2, 5)]
    with pytest.warns(UserWarning, match=r"own\.codes: .* may protect little"):
        second_moments(model, data, score=score)


def test_what_draws_numbers_keeps_what_its_own_calls_tell() -> None:
    class Noisy(Codes):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x @ (self.codes * torch.rand_like(self.codes)))

    model, runs = nn.Sequential(Noisy(), nn.Linear(FEATURES, CLASSES)), [0, 0]

    def count(module: nn.Module, args: Any) -> None:
        runs[-1] += 1

    model.register_forward_pre_hook(count)
    for batch in range(2):
        runs[-1] = 0
        with pytest.warns(UserWarning, match=r"0\.codes: .* as where it draws numbers"):
            second_moments(model, batches(batch + 1, 5), reduce="rms")
        runs.append(0)
    one, two = runs[1:3]
    assert two == one + 1  # the second batch alone


class Keys(nn.Module):
    """Attention of its own, whose key's bias a softmax does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = (nn.Parameter(torch.randn(3, 3)) for _ in range(2))
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        query, keys = x @ self.q, x @ self.k + self.bias
        given = (each.unsqueeze(-3) for each in (query, keys, x))
        return functional.scaled_dot_product_attention(*given).squeeze(-3)


def keys() -> nn.Module:
    return nn.Sequential(Keys(), nn.Flatten(), nn.Linear(3 * LENGTH, CLASSES))


def drawn() -> nn.Module:
    return Drawn()


class Drawn(nn.Module):
    """Adds noise of its own, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).mean(1)
        return self.head(hidden + torch.randn_like(hidden))


@pytest.mark.parametrize("make", [keys, drawn])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_and_noise_are_no_reason_to_doubt(make: Any, dtype: Any) -> None:
    model = made(make).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second_moments(model, [(x.to(dtype), y) for x, y in sequences(2, 7)])


def test_projections_do_not_show_in_what_is_looked_at() -> None:
    model = made(mlp)
    rgo, optimizer = RGO(model, sgd(model), seed=0), sgd(model)
    data = [(x.double(), y) for x, y in batches(3, 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for task in range(2):
            rgo.begin_task(task)
            train(model, optimizer, data)
            rgo.end_task(data)


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
