import copy
from typing import Any

import pytest
import torch
from bench.small_settings import (
    MIXED,
    SPLIT,
    assert_resumes,
    begin,
    learn,
    tiny_setting,
)
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.methods.method import MethodOptions, masked
from rgo_bench.methods.replay import (
    ER,
    DEROptions,
    DERPlusPlus,
    ReservoirOptions,
)
from rgo_bench.methods.replay_memory import Reservoir, decoded, encoded, rgo_bytes
from rgo_bench.methods.rgo import RGO, RGOOptions
from rgo_bench.methods.sgd import SGD

SETTING = tiny_setting()


def test_every_sample_is_kept_with_the_same_probability() -> None:
    counts = torch.zeros(20)
    for seed in range(400):
        memory = Reservoir(SETTING._replace(seed=seed), 5)
        x = torch.arange(20.0)[:, None].repeat(1, 2)
        for part in x.split(5):
            memory.add(part, part[:, 0].long(), 0, None)
        kept = memory.draw(5).y
        assert len(set(kept.tolist())) == 5
        counts[kept] += 1
    # 5 of 20, 400 times: 100 each, with a deviation of 8.7.
    assert (counts - 100).abs().max() < 4 * 8.7


def test_inputs_come_back_within_half_a_step_and_pixels_come_back_whole() -> None:
    x = torch.randn(3, 2, 4)
    code, low, step = encoded(x)
    assert code.dtype == torch.uint8
    apart = (decoded(code, low, step) - x).abs().flatten(1).amax(1)
    assert (apart <= 0.51 * step).all()
    pixels = torch.tensor([[0, 7, 255], [0, 0, 255]]) / 255
    torch.testing.assert_close(decoded(*encoded(pixels)), pixels)
    flat = torch.full((1, 3), 0.5)
    torch.testing.assert_close(decoded(*encoded(flat)), flat)


def test_by_default_the_memory_takes_the_bytes_of_rgos_state() -> None:
    own = RGO(SETTING, RGOOptions())
    state = tensor_bytes(own.rgo.state_dict())
    assert rgo_bytes(SETTING) == state
    for make, options in ((ER, ReservoirOptions()), (DERPlusPlus, DEROptions())):
        method: Any = make(SETTING, options)
        learn(method, 0)
        one = 6 + 8 + 4 + (16 if make is DERPlusPlus else 0)
        assert method.memory.size == state // one
        weights = SGD(SETTING, MethodOptions()).kept_bytes()
        generator = method.memory.state_dict()["generator"].nbytes
        assert method.kept_bytes() == weights + method.memory.size * one + generator


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
