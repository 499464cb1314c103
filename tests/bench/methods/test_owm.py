from typing import Any, Literal

import numpy as np
import pytest
import torch
from bench.small_settings import (
    BATCH,
    assert_resumes,
    begin,
    learn,
    samples,
    tiny_network,
    tiny_setting,
    weights,
)
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods.owm import OWM, OWMOptions

SETTING = tiny_setting()
Matrix = NDArray[np.float64]


class Loop:
    """OWM sample by sample and number by number, in NumPy."""

    def __init__(self, damping: float, lr: float) -> None:
        parameters = [p.detach().double() for p in tiny_network(0).parameters()]
        self.W1, self.b1, self.W2, self.b2 = (p.numpy().copy() for p in parameters)
        self.P1, self.P2 = np.eye(self.W1.shape[1]), np.eye(self.W2.shape[1])
        self.damping, self.lr = damping, lr

    def hidden(self, x: Matrix) -> Matrix:
        return np.maximum(x @ self.W1.T + self.b1, 0)

    def fold(self, x: Matrix) -> None:
        self.P1 = self._folded(self.P1, x)
        self.P2 = self._folded(self.P2, self.hidden(x))

    def step(self, x: Matrix, y: NDArray[np.int64], *, fold: bool) -> None:
        hidden = self.hidden(x)
        logits = hidden @ self.W2.T + self.b2
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        d2 = (p - np.eye(p.shape[1])[y]) / len(y)
        d1 = (d2 @ self.W2) * (hidden > 0)
        if fold:
            self.fold(x)
        self.W1 -= self.lr * d1.T @ x @ self.P1
        self.W2 -= self.lr * d2.T @ hidden @ self.P2
        self.b1 -= self.lr * d1.sum(0)
        self.b2 -= self.lr * d2.sum(0)

    def _folded(self, P: Matrix, rows: Matrix) -> Matrix:
        r = rows.mean(0)
        k = np.array([sum(a * b for a, b in zip(row, r, strict=True)) for row in P])
        return P - np.outer(k, k) / (self.damping + r @ k)


@pytest.mark.parametrize("observe", ["step", "task"])
def test_training_is_that_of_a_loop_in_numpy(observe: Literal["step", "task"]) -> None:
    method = OWM(SETTING, OWMOptions(damping=0.3, observe=observe, biases="free"))
    loop = Loop(0.3, SETTING.lr)
    for task in range(2):
        x, y = begin(method, task)
        batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
        for batch in batches:
            method.step(*batch)
            inputs, labels = batch[0].double().numpy(), batch[1].numpy()
            loop.step(inputs, labels, fold=observe == "step")
        method.end_task(x, y, Clock(SETTING.device))
        if observe == "task":
            for inputs, _ in batches:
                loop.fold(inputs.double().numpy())
    expected = {
        "0.weight": loop.W1,
        "0.bias": loop.b1,
        "2.weight": loop.W2,
        "2.bias": loop.b2,
    }
    for name, weight in weights(method).items():
        # float32 against float64, over 16 steps.
        np.testing.assert_allclose(weight.numpy(), expected[name], atol=1e-5)
    np.testing.assert_allclose(method.projections["0"], loop.P1, atol=1e-5)
    np.testing.assert_allclose(method.projections["2"], loop.P2, atol=1e-5)


def test_a_small_damping_closes_what_a_task_took_in() -> None:
    changes = []
    for damping in (1e-4, 1e4):
        method = OWM(SETTING, OWMOptions(damping=damping, observe="task"))
        learn(method, 0)
        means = torch.stack([b.mean(0) for b in samples(0, SETTING)[0].split(BATCH)])
        before = weights(method)["0.weight"]
        learn(method, 1)
        change = weights(method)["0.weight"] - before
        changes.append(float((change @ means.T).norm()))
    assert changes[0] < changes[1] / 100


def test_biases_are_trained_unless_frozen() -> None:
    fresh = dict(tiny_network(0).named_parameters())
    for biases in ("free", "frozen"):
        method = OWM(SETTING, OWMOptions(biases=biases))
        learn(method, 0)
        same = torch.equal(weights(method)["0.bias"], fresh["0.bias"])
        assert same == (biases == "frozen")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("damping", 0.0, "a positive number"),
        ("observe", "epoch", "one of step, task"),
        ("biases", "none", "one of free, frozen"),
    ],
)
def test_options_without_meaning_are_refused(
    option: str, value: object, expected: str
) -> None:
    changes: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=f"option '{option}': expected {expected}"):
        OWMOptions(**changes)


def convolutional(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 2, groups=2, bias=False), nn.Flatten(), nn.Linear(16, 4)
    )


def test_patches_of_a_grouped_convolution_are_folded_group_by_group() -> None:
    setting = SETTING._replace(make_network=convolutional)
    method = OWM(setting, OWMOptions(damping=0.5))
    x, y = torch.randn(5, 2, 3, 3), torch.tensor([0, 1, 2, 3, 0])
    method.step(x, y)
    for group in range(2):
        patches = functional.unfold(x[:, group : group + 1], 2)  # (b, n, p)
        r = patches.mean((0, 2)).double()
        expected = torch.linalg.inv(torch.eye(4).double() + torch.outer(r, r) / 0.5)
        actual = method.projections["0"][group].double()
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("observe", ["step", "task"])
def test_a_resumed_run_ends_with_the_same_weights(
    observe: Literal["step", "task"],
) -> None:
    options = OWMOptions(observe=observe)
    assert_resumes(OWM(SETTING, options), OWM(SETTING, options))
