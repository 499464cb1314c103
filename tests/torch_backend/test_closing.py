"""A task that closes next to nothing is told, and what nothing was seen of."""

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch_backend.nets import Batch, batches, mlp, sgd, train

import rgo_core
from rgo_core._closing import Added
from rgo_torch import RGO, label_score, second_moments
from rgo_torch.parameters.added import added_to
from rgo_torch.trained import Trained

LITTLE = "this task closes .* of a direction in .*: what it learned is hardly protected"
FLOORED: dict[str, Any] = {"observe": partial(second_moments, curvature="floored")}


def adam(model: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), 1e-2)


def fitted(model: nn.Module, batch: Batch) -> Tensor:
    """Score as if the network were sure of everything."""
    return label_score(1e4 * model(batch[0]), model(batch[0]).argmax(-1))


def learn(model: nn.Module, optimizer: Any, rgo: RGO, score: Any = None) -> list[str]:
    """Return the warnings of one task."""
    rgo.begin_task()
    data = batches(seed=rgo.finished)
    train(model, optimizer, data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rgo.end_task(data, score=score)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_task_whose_samples_are_fitted_to_rounding_is_told(make: Any) -> None:
    model = mlp()
    optimizer = make(model)
    rgo = RGO(model, optimizer, seed=0)
    assert not learn(model, optimizer, rgo)
    (told,) = learn(model, optimizer, rgo, fitted)
    assert "closes 0 of a direction in" in told
    assert "RGO(observe=partial(second_moments, curvature='floored')), with a" in told
    assert not learn(model, optimizer, rgo)


def test_biases_alone_protect_no_task() -> None:
    model = mlp()
    optimizer = adam(model)
    rgo = RGO(model, optimizer, seed=0)
    learn(model, optimizer, rgo)
    rgo.begin_task()
    train(model, optimizer, batches())
    moments = rgo.observe(batches())
    for name in ("0.weight", "2.weight", "4.weight"):
        moments[name][0].zero_()
    with pytest.warns(UserWarning, match="closes 0 of a direction"):
        rgo.consolidate(moments)


@pytest.mark.parametrize("elsewhere", [set(), {"2.weight"}])
def test_what_other_workers_keep_may_close_more(elsewhere: set[str]) -> None:
    model = mlp()
    parameters = RGO(model, sgd(model)).projector.observed
    changes = Trained(parameters)
    changes.watch()
    train(model, sgd(model), batches())
    one = np.asarray(1.0)
    added = {n: Added(1e-9, one, 8) for n in parameters if n not in elsewhere}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        changes.warn_of_lost(added, 0.3, elsewhere, set())
    assert bool(caught) != bool(elsewhere)


def test_a_task_that_trained_nothing_is_not_told() -> None:
    model = mlp()
    optimizer = adam(model)
    rgo = RGO(model, optimizer, seed=0)
    learn(model, optimizer, rgo)
    rgo.begin_task()
    rgo.end_task(batches(), score=fitted)  # warnings are errors


def test_where_nothing_was_ever_seen_the_error_names_the_floor() -> None:
    model = mlp()
    rgo = RGO(model, adam(model), seed=0)
    rgo.begin_task()
    with pytest.raises(ValueError, match="curvature='floored' counts these too"):
        rgo.end_task(batches(), score=fitted)


class Clusters(nn.Module):
    """Logits that fit well separated samples to rounding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


def clusters(seed: int, spread: float) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (64,), generator=generator)
    centre = torch.randn(4, generator=generator)
    noise = spread * torch.randn(64, 4, generator=generator)
    return (2.0 * y[:, None] - 1) * centre * 20 + noise, y


@pytest.mark.parametrize("options", [{}, FLOORED])
def test_what_the_warning_names_closes_directions(options: dict[str, Any]) -> None:
    model = Clusters()
    optimizer = torch.optim.Adam(model.parameters(), 3e-2)
    rgo = RGO(model, optimizer, encode=False, **options)
    told = []
    for task, spread in enumerate((60.0, 0.1)):  # a hard one, and an easy one
        rgo.begin_task(task)
        for _ in range(150):
            train(model, optimizer, [clusters(task, spread)])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rgo.end_task([clusters(task, spread)])
        told += [str(each.message)[:16] for each in caught]
    assert told == ([] if options else ["this task closes"])


def test_a_trained_parameter_of_which_nothing_was_seen_is_named() -> None:
    model = mlp()
    optimizer = adam(model)
    rgo = RGO(model, optimizer, seed=0)

    def without_first(model: Any, batch: Batch) -> Tensor:
        # Its gradient is there, and zero: a product with nothing.
        hidden = torch.where(torch.tensor(False), model[0](batch[0]), 0.5)
        return label_score(model[1:](hidden), batch[1])

    (told,) = learn(model, optimizer, rgo, without_first)
    assert told.startswith("0.weight, 0.bias: trained in this task, but no score")


def test_what_is_added_is_counted_in_every_form() -> None:
    rows = torch.randn(5, 6, dtype=torch.float64)
    moments: dict[str, Any] = {
        "full": rgo_core.empty_moment(6, xp=xp),
        "sketch": rgo_core.empty_sketch(6, 2, xp=xp),
        "diagonal": rgo_core.empty_diagonal(6, xp=xp),
    }
    moments = {k: rgo_core.observe(m, rows, xp=xp) for k, m in moments.items()}
    groups = rgo_core.empty_moment(3, groups=(2,), xp=xp)
    halves = rows.view(5, 2, 3).movedim(1, 0)
    moments["groups"] = rgo_core.observe(groups, halves, xp=xp)
    total = float((rows**2).sum())
    halved = halves.pow(2).sum((-1, -2)).numpy()
    for name, found in added_to({}, {**moments, "none": None}).items():
        assert found.trace == pytest.approx(total)
        expected = halved if name == "groups" else total
        assert found.totals == pytest.approx(expected)
        assert found.features == (3 if name == "groups" else 6)
    for found in added_to(moments, moments).values():
        assert found.trace == pytest.approx(total)
        assert found.totals.sum() == pytest.approx(2 * total)
