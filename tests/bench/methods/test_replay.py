import copy
from typing import Any

import pytest
import torch
from bench.small_settings import (
    MIXED,
    SPLIT,
    assert_resumes,
    assert_same,
    begin,
    beside_sgd,
    learn,
    tiny_setting,
    weights,
)
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.methods.method import masked
from rgo_bench.methods.replay import (
    ER,
    DEROptions,
    DERPlusPlus,
    ERRing,
    ReplayOptions,
    ReservoirOptions,
)

SETTING = tiny_setting()


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
    method = ERRing(tiny_setting(), ReplayOptions())
    plain = beside_sgd(method)
    assert_same(weights(method), weights(plain))


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


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_a_resumed_replay_ends_with_the_same_weights(
    masks: tuple[Tensor | None, ...],
) -> None:
    setting, options = tiny_setting(masks), ReplayOptions(replay=3)
    assert_resumes(ERRing(setting, options), ERRing(setting, options))


@pytest.mark.parametrize("option", ["per_class", "replay"])
def test_options_that_keep_or_replay_nothing_are_refused(option: str) -> None:
    message = f"option '{option}': expected a positive integer, got 0"
    with pytest.raises(ValueError, match=message):
        ReplayOptions(**{option: 0})


@pytest.mark.parametrize(
    "masks", [(None,) * 3, SPLIT, MIXED], ids=["whole", "split", "mixed"]
)
def test_a_step_of_der_is_sgd_on_its_loss(masks: tuple[Tensor | None, ...]) -> None:
    method = DERPlusPlus(
        tiny_setting(masks), DEROptions(size=8, replay=3, alpha=0.3, beta=0.7)
    )
    learn(method, 0)
    x, y = begin(method, 1)
    x, y = x[:5], y[:5]
    network, memory = copy.deepcopy(method.network), copy.deepcopy(method.memory)
    first, second = memory.draw(3), memory.draw(3)
    assert first.logits is not None

    def nll(logits: Tensor, label: Tensor, task: int) -> Tensor:
        mask = masks[task]
        kept = logits if mask is None else logits.masked_fill(~mask, -torch.inf)
        return -torch.log_softmax(kept, -1)[label]

    total = torch.stack([nll(network(a), b, 1) for a, b in zip(x, y, strict=True)])
    dark = torch.stack(
        [
            ((network(a) - z) ** 2).sum() / 4
            for a, z in zip(first.x, first.logits, strict=True)
        ]
    )
    plain = torch.stack(
        [nll(network(a), b, 0) for a, b in zip(second.x, second.y, strict=True)]
    )
    loss = total.mean() + 0.3 * dark.mean() + 0.7 * plain.mean()
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    method.step(x, y)
    for new, old, g in zip(
        method.network.parameters(), network.parameters(), gradients, strict=True
    ):
        torch.testing.assert_close(new, old - 0.1 * g)


@pytest.mark.parametrize("masks", [SPLIT, MIXED], ids=["split", "mixed"])
def test_a_step_of_er_is_sgd_on_old_and_new_samples(
    masks: tuple[Tensor | None, ...],
) -> None:
    method = ER(tiny_setting(masks), ReservoirOptions(size=8, replay=3))
    learn(method, 0)
    x, y = begin(method, 1)
    network, memory = copy.deepcopy(method.network), copy.deepcopy(method.memory)
    old = memory.draw(3)
    parts = [(x[:5], y[:5], masks[1]), (old.x, old.y, masks[0])]
    losses = [
        functional.cross_entropy(masked(network(a), mask), b, reduction="sum")
        for a, b, mask in parts
    ]
    gradients = torch.autograd.grad(sum(losses) / 8, list(network.parameters()))
    method.step(x[:5], y[:5])
    for new, start, g in zip(
        method.network.parameters(), network.parameters(), gradients, strict=True
    ):
        torch.testing.assert_close(new, start - 0.1 * g)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("size", 0, "a positive integer"),
        ("replay", 0, "a positive integer"),
        ("alpha", 0.0, "a positive number"),
        ("beta", -1.0, "a positive number"),
    ],
)
def test_options_without_meaning_are_refused(
    option: str, value: object, expected: str
) -> None:
    changes: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=f"option '{option}': expected {expected}"):
        DEROptions(**changes)


def test_resumed_runs_end_with_the_same_weights() -> None:
    options = ReservoirOptions(size=6)
    assert_resumes(ER(SETTING, options), ER(SETTING, options))
    dark = DEROptions(size=6)
    assert_resumes(DERPlusPlus(SETTING, dark), DERPlusPlus(SETTING, dark))
