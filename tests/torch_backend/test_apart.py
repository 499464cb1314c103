"""What a model uses without a call of its module is observed all the same."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend import oracle
from torch_backend.nets import CLASSES, FEATURES, Given, batch, batches, sgd

from rgo_torch import RGO, second_moments
from rgo_torch.observation.joining import MOST_SAMPLES
from rgo_torch.observation.score import cross_entropy_score

WORDS = 7


class Block(nn.Module):
    """Multiplies by a layer's weight, with a call of the layer or without."""

    def __init__(self, *, calls: bool) -> None:
        super().__init__()
        self.calls = calls
        self.inner = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.calls:
            return self.inner(x)
        return functional.linear(x, self.inner.weight, self.inner.bias)


def net(*, calls: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, FEATURES), nn.Tanh(), Block(calls=calls)
    ).double()


class Tied(nn.Module):
    """A language model's embedding that is its head as well, multiplied by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.mix = nn.Embedding(WORDS, 5), nn.Linear(5, 5)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = torch.tanh(self.mix(self.embedding(ids).mean(1)))
        return hidden @ self.embedding.weight.T


def ids(size: int = 6) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randint(WORDS, (size, 3)), torch.randint(WORDS, (size,))


@pytest.mark.parametrize("reduce", ["mean", "rms"])
def test_a_layer_that_is_never_called_is_observed_as_one_that_is(reduce: str) -> None:
    data = [(x.double(), y) for x, y in batches(3)]
    called = second_moments(net(calls=True), data, reduce=reduce)
    with pytest.warns(UserWarning, match="inner.weight, 2.inner.bias: used without a"):
        apart = second_moments(net(calls=False), data, reduce=reduce)
    assert set(apart) == set(called)
    for name, moment in called.items():
        torch.testing.assert_close(apart[name].matrix, moment.matrix)


def test_the_nearest_module_that_is_called_is_called_again() -> None:
    with pytest.warns(UserWarning, match="observed by calling 2 again for each sample"):
        second_moments(net(calls=False).float(), [batch()])


def test_a_weight_that_is_called_and_used_apart_has_both_gradients() -> None:
    model, (x, y) = Tied().double(), ids()
    with pytest.warns(UserWarning, match="calling the whole model again"):
        found = second_moments(model, [(x, y)], reduce="rms")
    towards = oracle.cotangents(
        model(x).detach().numpy(), y.numpy(), "ground-truth", list(range(WORDS))
    )
    gradients = oracle.sample_gradients(model, x, towards)["embedding.weight"][0]
    np.testing.assert_allclose(
        found["embedding.weight"].diagonal.numpy(),
        (gradients**2).mean(-1).sum(0),
        rtol=1e-12,
    )


def test_an_empty_first_batch_does_not_hide_what_is_used_apart() -> None:
    x, y = batch()
    with pytest.warns(UserWarning, match="inner.weight"):
        found = second_moments(net(calls=False).float(), [(x[:0], y[:0]), (x, y)])
    with pytest.warns(UserWarning, match="inner.weight"):
        expected = second_moments(net(calls=False).float(), [(x, y)])
    for name, moment in expected.items():
        assert torch.equal(found[name].matrix, moment.matrix)


def test_projections_of_what_is_used_apart_leave_the_identity() -> None:
    model = net(calls=False).float()
    rgo = RGO(model, sgd(model))
    rgo.begin_task(0)
    with pytest.warns(UserWarning, match="used without a call"):
        rgo.end_task(batches(2))
    assert set(rgo.projector.projections) == {n for n, _ in model.named_parameters()}


def test_what_no_called_module_holds_is_said_to_be_unprotected() -> None:
    model = Tied()

    def score(model: nn.Module, pair: tuple[Tensor, Tensor]) -> Tensor:
        ids, labels = pair
        hidden = model.mix(model.embedding(ids).mean(1))
        logits = hidden @ model.embedding.weight.T
        return cross_entropy_score("ground-truth", None)(Given(logits), (ids, labels))

    with pytest.warns(UserWarning, match="embedding.weight: .* neither observed nor"):
        second_moments(model, [ids()], score=score)


def forwards_of(model: nn.Module, observe: Callable[[], object]) -> int:
    count = 0

    def hook(*_: object) -> None:
        nonlocal count
        count += 1

    with model.register_forward_hook(hook):
        observe()
    return count


class Flow(nn.Module):
    """Has no forward, and uses parameters of its own in a method."""

    def __init__(self, *, trains_mask: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mask = nn.Parameter(torch.tensor([0.0, 1.0]), requires_grad=trains_mask)
        self.shift = nn.Linear(2, 2)

    def log_prob(self, x: Tensor) -> Tensor:
        kept = self.mask * x
        return -(kept + (1 - self.mask) * self.shift(kept)).square().sum(1)


@pytest.mark.parametrize("trains_mask", [False, True])
def test_only_what_is_trained_is_said_to_be_unprotected(trains_mask: bool) -> None:
    model = Flow(trains_mask=trains_mask)
    data = list(torch.randn(2, 6, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = second_moments(model, data, score=lambda model, x: model.log_prob(x))
    assert found.keys() == {"shift.weight", "shift.bias"}
    told = [str(each.message) for each in caught]
    assert [each.split(":")[0] for each in told] == ["mask"] * trains_mask
    assert model.mask.requires_grad == trains_mask


def test_what_was_trained_and_is_frozen_since_is_said_to_be_lost() -> None:
    model = Flow(trains_mask=True)
    rgo = RGO(model, optimizer := sgd(model), encode=False)
    rgo.begin_task(0)
    for x in (data := list(torch.randn(2, 6, 2))):
        optimizer.zero_grad()
        (-model.log_prob(x).mean()).backward()
        optimizer.step()
    model.mask.requires_grad_(False)
    with pytest.warns(UserWarning, match="mask: trained in this task, but no score"):
        rgo.end_task(data, score=lambda model, x: model.log_prob(x))


def test_a_model_that_calls_its_layers_is_run_once_a_batch_without_a_word() -> None:
    model, data = net(calls=True).float(), batches(3, size=MOST_SAMPLES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert forwards_of(model, lambda: second_moments(model, data)) == 3
