import copy

import pytest
import torch
from bench.small_settings import (
    MIXED,
    SPLIT,
    begin,
    learn,
    tiny_setting,
    weights,
)
from torch import Tensor, nn

from rgo_bench.methods.method import MethodOptions
from rgo_bench.methods.replay import ERRing, ReplayOptions
from rgo_bench.methods.sgd import SGD


@pytest.mark.parametrize(
    "masks", [(None,) * 3, SPLIT, MIXED], ids=["whole", "split", "mixed"]
)
def test_a_step_is_sgd_on_the_joint_batch(masks: tuple[Tensor | None, ...]) -> None:
    setting = tiny_setting(masks)
    method = ERRing(setting, ReplayOptions(replay=3))
    learn(method, 0)
    x, y = begin(method, 1)
    network = copy.deepcopy(method.network)
    replayed = copy.deepcopy(method.memory).draw(3)
    method.step(x[:5], y[:5])
    joint = [(a, b, 1) for a, b in zip(x[:5], y[:5], strict=True)]
    joint += [(a, b, 0) for a, b in zip(replayed.x, replayed.y, strict=True)]
    total = torch.zeros(())
    for sample, label, task in joint:
        logits = network(sample)
        mask = masks[task]
        if mask is not None:
            classes = torch.nonzero(mask)[:, 0].tolist()
            logits, label = logits[classes], classes.index(int(label))
        total = total - torch.log_softmax(logits, -1)[int(label)] / len(joint)
    total.backward()
    expected = stepped(network, setting.lr)
    for name, weight in weights(method).items():
        torch.testing.assert_close(weight, expected[name])


def stepped(network: nn.Module, lr: float) -> dict[str, Tensor]:
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        found[name] = (parameter - lr * parameter.grad).detach()
    return found


def test_the_first_task_is_learned_by_sgd_bit_for_bit() -> None:
    setting = tiny_setting()
    method, plain = ERRing(setting, ReplayOptions()), SGD(setting, MethodOptions())
    for each in (method, plain):
        learn(each, 0)
    expected = weights(plain)
    for name, weight in weights(method).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


def test_every_step_draws_anew() -> None:
    method = ERRing(tiny_setting(), ReplayOptions(per_class=3, replay=2))
    learn(method, 0)
    x, y = begin(method, 1)
    moves = []
    for _ in range(2):
        copied = weights(method)
        method.step(x[:5], y[:5])
        moves.append(weights(method)["2.bias"] - copied["2.bias"])
        method.network.load_state_dict(copied)
    assert not torch.equal(*moves)
