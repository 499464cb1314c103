import copy

import pytest
import torch
from bench.small_settings import (
    BATCH,
    assert_resumes,
    assert_same,
    begin,
    beside_sgd,
    learn,
    samples,
    tiny_setting,
    weights,
)
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods.ewc import EWC, EWCOptions, normalized

SETTING = tiny_setting()


def gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_the_first_task_is_learned_by_sgd_bit_for_bit() -> None:
    method = EWC(SETTING, EWCOptions())
    plain = beside_sgd(method)
    assert_same(weights(method), weights(plain))


def test_the_running_fisher_is_that_of_a_loop_over_windows() -> None:
    window, decay = 3, 0.7
    method = EWC(SETTING, EWCOptions(window=window, decay=decay))
    expected = {n: torch.zeros_like(w) for n, w in weights(method).items()}
    for task in range(2):
        x, y = begin(method, task)
        history: list[dict[str, Tensor]] = []
        for inputs, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
            loss = functional.cross_entropy(method.network(inputs), labels)
            history.append(gradients(method.network, loss))
            method.step(inputs, labels)
        for start in range(0, len(history) - window + 1, window):
            for name in expected:
                squares = [h[name] ** 2 for h in history[start : start + window]]
                mean = sum(squares, torch.zeros(())) / window
                expected[name] = (1 - decay) * expected[name] + decay * mean
        assert len(history) % window  # one more window begins, and is dropped
        learn_nothing(method, task)
        for name, running in method.running.items():
            torch.testing.assert_close(running, expected[name])


def learn_nothing(method: EWC, task: int) -> None:
    method.end_task(*samples(task, SETTING), Clock(SETTING.device))


def test_a_step_follows_the_loss_with_a_dense_penalty() -> None:
    options = EWCOptions(strength=3.0, window=2)
    method = EWC(SETTING, options)
    learn(method, 0)
    anchor = weights(method)
    fisher = dense_normalized(method.running)
    x, y = begin(method, 1)
    for first in range(0, 20, BATCH):
        network = copy.deepcopy(method.network)
        inputs, labels = x[first : first + BATCH], y[first : first + BATCH]
        loss = functional.cross_entropy(network(inputs), labels)
        for name, parameter in network.named_parameters():
            pairs = zip(
                parameter.flatten(),
                anchor[name].flatten(),
                fisher[name].flatten(),
                strict=True,
            )
            for weight, star, importance in pairs:
                loss = loss + options.strength * importance * (weight - star) ** 2
        expected = gradients(network, loss)
        before = weights(method)
        method.step(inputs, labels)
        for name, weight in weights(method).items():
            step = before[name] - SETTING.lr * expected[name]
            torch.testing.assert_close(weight, step)


def dense_normalized(running: dict[str, Tensor]) -> dict[str, Tensor]:
    values = [float(v) for part in running.values() for v in part.flatten()]
    low, high = min(values), max(values)
    return {name: (part - low) / (high - low) for name, part in running.items()}


def test_normalising_spans_zero_to_one_over_all_parameters_together() -> None:
    fisher = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[2.0], [5.0]])}
    result = normalized(fisher)
    torch.testing.assert_close(result["a"], torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(result["b"], torch.tensor([[0.25], [1.0]]))


def test_normalising_equal_values_gives_zeros() -> None:
    result = normalized({"a": torch.full((3,), 7.0)})
    torch.testing.assert_close(result["a"], torch.zeros(3))


def test_a_strong_penalty_holds_the_weights_where_they_were() -> None:
    moves = []
    for strength in (1e-12, 4.0):
        method = EWC(SETTING, EWCOptions(strength=strength, window=2))
        learn(method, 0)
        anchor, fisher = weights(method), method.fisher
        learn(method, 1)
        moved = weights(method)
        parts = [fisher[n] * (moved[n] - anchor[n]) ** 2 for n in anchor]
        moves.append(sum(float(part.sum()) for part in parts))
    assert moves[1] < moves[0] / 2


def test_a_window_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="option 'window': expected a positive int"):
        EWCOptions(window=0)


def test_a_resumed_run_ends_with_the_same_weights() -> None:
    options = EWCOptions(window=3)
    assert_resumes(EWC(SETTING, options), EWC(SETTING, options))


def test_two_numbers_a_weight_are_kept_beside_it() -> None:
    method = EWC(SETTING, EWCOptions())
    learn(method, 0)
    assert method.kept_bytes() == 3 * 4 * sum(
        w.numel() for w in weights(method).values()
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("strength", -5.0), ("strength", float("nan")), ("decay", 3.0)],
)
def test_options_without_meaning_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"option '{option}': expected a"):
        EWCOptions(**{option: value})
