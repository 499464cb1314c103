import copy
import math
from typing import Any

import pytest
import torch
from bench.small_settings import (
    HIDDEN,
    SPLIT,
    assert_resumes,
    begin,
    learn,
    samples,
    tiny_setting,
)
from torch import Tensor

from rgo_bench.clock import Clock
from rgo_bench.methods.passes import mini_batches, percent_right, train
from rgo_bench.methods.rcl import RCL, Controller, RCLOptions, reward

SETTING = tiny_setting()
FEW = RCLOptions(trials=3, most=4)


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_earlier_tasks_never_change(masks: tuple[Tensor | None, ...]) -> None:
    method = RCL(tiny_setting(masks), FEW)
    learn(method, 0)
    x, _ = samples(0, method.setting)
    before, old = method.predict(x, 0), method.network.weights["0"].detach().clone()
    learn(method, 1, 2)
    assert torch.equal(method.predict(x, 0), before)
    assert torch.equal(method.network.weights["0"][:HIDDEN], old)


def test_the_best_of_all_trials_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    method = RCL(SETTING, RCLOptions(trials=4, most=4, cost=0.01))
    tried: list[tuple[list[int], float]] = []

    def noted(right: float, draw: list[int], cost: float) -> float:
        tried.append((draw, reward(right, draw, cost)))
        return tried[-1][1]

    monkeypatch.setattr("rgo_bench.methods.rcl.reward", noted)
    learn(method, 0, 1)
    x, y = samples(1, SETTING)
    assert len(tried) == 4
    draw, gained = max(tried, key=lambda each: each[1])
    assert method.network.widths == [HIDDEN + draw[0]]
    # The reward is the accuracy on the first tenth, which was held back, less the cost.
    right = percent_right(lambda part: method.predict(part, 1), x[:4], y[:4])
    assert gained == pytest.approx(right / 100 - 0.01 * draw[0])
    assert gained == reward(right / 100, draw, 0.01)


def test_the_controller_learns_to_draw_what_is_rewarded() -> None:
    controller = Controller(2, 4, lr=0.01, seed=0)
    before = controller.probabilities().detach()
    # Drawn with nearly the same probability each at first.
    assert (before - 0.25).abs().max() < 0.05
    for _ in range(120):
        draw = controller.draw()
        controller.learn(float(draw == [1, 3]) + float(draw[0] == 1))
    after = controller.probabilities().detach()
    assert after[0, 1] > 0.6
    assert torch.equal(after.argmax(1), torch.tensor([1, 3])) or after[0, 1] > 0.9


def test_a_draw_moves_the_controller_along_its_policy_gradient() -> None:
    controller = Controller(1, 3, lr=0.001, seed=1)
    (drawn,) = controller.draw()
    critic = float(controller._critic(controller._state).detach())
    output = controller._output
    chances = controller.probabilities()
    loss = -(2.0 - critic) * chances[0, drawn].log()
    (expected,) = torch.autograd.grad(loss, output.bias)
    controller.learn(2.0)
    assert output.bias.grad is not None
    torch.testing.assert_close(output.bias.grad, expected)


def test_mini_batches_go_through_all_samples_in_orders_of_their_own() -> None:
    x, y = samples(0, SETTING)
    x[:, 0] = torch.arange(len(x))
    batches = mini_batches(
        *(x, y), size=7, steps=11, generator=torch.Generator().manual_seed(0)
    )
    listed = list(batches)
    assert [len(labels) for _, labels in listed] == [7, 7, 7, 7, 7, 5] + [7] * 5
    first = torch.cat([given[:, 0] for given, _ in listed[:6]]).long()
    assert not torch.equal(first, torch.arange(len(x)))
    assert torch.equal(first.sort().values, torch.arange(len(x)))
    assert torch.equal(torch.cat([labels for _, labels in listed[:6]]), y[first])
    second = torch.cat([given[:, 0] for given, _ in listed[6:]]).long()
    assert not torch.equal(second, first[: len(second)])


def test_training_returns_the_loss_of_its_last_tenth() -> None:
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    x, y = samples(0, SETTING)
    calls: list[str] = []
    loss = train(
        lambda part: part @ weight.T,
        [(x, y)] * 20,
        torch.optim.SGD([weight], lr=0.1),
        pull=lambda: calls.append("pull"),
        after=lambda: calls.append("after"),
    )
    assert calls == ["pull", "after"] * 20
    other = torch.zeros(4, 6)
    losses = []
    for _ in range(20):
        losses.append(torch.nn.functional.cross_entropy(x @ other.T, y))
        gradient = (x @ other.T).softmax(-1) - torch.nn.functional.one_hot(y, 4)
        other = other - 0.1 * gradient.T @ x / len(x)
    assert loss == pytest.approx(float(sum(losses[-2:]) / 2))
    torch.testing.assert_close(weight.detach(), other)
    nothing = train(lambda part: part @ weight.T, [], torch.optim.SGD([weight], lr=0.1))
    assert math.isnan(nothing)


def test_adam_decays_weights_and_no_bias() -> None:
    weight, bias = (
        torch.nn.Parameter(torch.ones(2, 3)),
        torch.nn.Parameter(torch.ones(2)),
    )
    optimizer = RCL(SETTING, RCLOptions(decay=0.25, step_size=0.5)).adam([weight, bias])
    weight.grad, bias.grad = torch.zeros(2, 3), torch.zeros(2)
    optimizer.step()
    # Its first step is one of the step size along the sign.
    torch.testing.assert_close(weight.detach(), torch.full((2, 3), 0.5))
    assert torch.equal(bias.detach(), torch.ones(2))


def test_bytes_are_those_of_the_kept_network_alone() -> None:
    method = RCL(SETTING, FEW)
    learn(method, 0, 1)
    (units,) = method.network.widths
    size = units * 7 + 4 * (HIDDEN + 1) + 4 * (units + 1)
    generator = method.network.generator.get_state().nbytes
    assert method.kept_bytes() == 4 * size + generator
    assert method.capacity() == pytest.approx(100 * size / (HIDDEN * 11 + 4))
    assert copy.deepcopy(method).kept_bytes() == method.kept_bytes()


@pytest.mark.parametrize("option", ["trials", "most", "cost"])
def test_options_without_meaning_are_refused(option: str) -> None:
    changes: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"option '{option}': expected a positive"):
        RCLOptions(**changes)


@pytest.mark.parametrize("part", [0, 3])
def test_what_is_held_back_is_a_part(part: float) -> None:
    with pytest.raises(ValueError, match="'validation': expected a number above 0 and"):
        RCLOptions(validation=part)


def test_a_task_of_which_all_is_held_back_is_refused() -> None:
    method = RCL(SETTING, RCLOptions(trials=1, validation=1))
    learn(method, 0)
    x, y = begin(method, 1)
    with pytest.raises(ValueError, match=r"expected to leave some of .* samples"):
        method.end_task(x, y, Clock(SETTING.device))


def test_a_resumed_run_ends_with_the_same_weights() -> None:
    assert_resumes(RCL(SETTING, FEW), RCL(SETTING, FEW))
