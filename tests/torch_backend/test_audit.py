"""Calls that do not tell a parameter's gradient are found on the first batch."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.audited import (
    LENGTH,
    MENDED,
    Codes,
    Twice,
    by_hand,
    made,
    sequences,
)
from torch_backend.nets import CLASSES, FEATURES, Given, batches, mlp, sgd, train

from rgo_torch import RGO, label_score, second_moments
from rgo_torch.observation.score import cross_entropy_score


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
    found = second_moments(model, data, reduce="rms")
    expected = by_hand(model, data, "mix.matrix", 1)
    np.testing.assert_allclose(found["mix.matrix"].matrix, expected, rtol=1e-9)


class Graphs(nn.Module):
    """Attends among the nodes of graphs that stand one after another in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Parameter(torch.randn(1, FEATURES))
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x, own = batch["nodes"], batch["graph"]
        weights = (x * self.attention).sum(1).exp()
        sums = x.new_zeros(int(own.max()) + 1).index_add(0, own, weights)
        rows = x * (weights / sums[own])[:, None]
        return self.head(x.new_zeros(len(sums), FEATURES).index_add(0, own, rows))


def label_of_graph(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return label_score(model(batch), batch["labels"])


def test_graphs_of_which_labels_alone_are_one_each_have_vectors_of_their_own() -> None:
    model, own = made(Graphs), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    nodes = torch.randn(len(own), FEATURES, dtype=torch.float64)
    batch = {"nodes": nodes, "graph": own, "labels": torch.tensor([0, 2, 1])}
    found = second_moments(model, [batch], score=label_of_graph)["attention"]
    scores = label_of_graph(model, batch)
    expected = [
        torch.autograd.grad(score, model.attention, retain_graph=True)[0] ** 2
        for score in scores
    ]
    np.testing.assert_allclose(found.diagonal, sum(expected)[0], rtol=1e-9)


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


class Tired(Twice):
    """Runs twice a batch, and no more."""

    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        if self.runs > 2:
            raise RuntimeError("no more")
        return super().forward(x)


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
