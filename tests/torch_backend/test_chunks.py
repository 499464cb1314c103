"""Batches in parts: the same second moments in less memory."""

from collections import UserDict
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import batch, mlp

from rgo_torch import RGO, second_moments
from rgo_torch.observation.chunks import SampleScore, TrainingBatch, parts


def lengths(batch: Any, size: int | None) -> list[int]:
    found = list(parts(batch, size))
    return [len(part["x"] if isinstance(part, dict) else part[0]) for part in found]


@pytest.mark.parametrize("per", ["sample", "position"])
def test_parts_of_a_batch_have_the_moments_of_the_whole(per: Any) -> None:
    model, pair = mlp(), batch(7)
    whole = second_moments(model, [pair], per=per)
    cut = second_moments(model, [pair], per=per, chunk_size=3)
    for name, moment in whole.items():
        torch.testing.assert_close(cut[name].matrix, moment.matrix)
        assert int(cut[name].count) == int(moment.count)


def test_no_more_samples_pass_at_once_than_asked_for() -> None:
    model, seen = mlp(), []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    second_moments(model, [batch(7), batch(2)], chunk_size=3)
    assert seen == [3, 3, 1, 2]


def test_what_is_not_all_of_one_length_stays_whole() -> None:
    x = torch.zeros(5, 2)
    assert lengths((x, torch.zeros(5)), 2) == [2, 2, 1]
    assert lengths({"x": x, "labels": torch.zeros(5, 3), "cache": False}, 4) == [4, 1]
    assert lengths((x, torch.zeros(5)), None) == [5]
    assert lengths((x, torch.zeros(4)), 2) == [5]  # a mask of classes, say
    assert lengths((x, torch.tensor(1.0)), 2) == [5]
    assert lengths((x, ["a"] * 5), 2) == [5]
    assert [len(part) for part in parts(x, 3)] == [3, 2]


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


class Encoding(UserDict[str, Any]):
    """Gives its entries by attribute too, as what tokenizers of transformers return."""

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # not there yet
            raise AttributeError(name)
        return self.data[name]


def test_parts_are_of_the_kind_of_the_batch() -> None:
    x, y = torch.arange(10).reshape(5, 2), torch.arange(5)
    for given in (Pair(x, y), Encoding(x=x, y=y), MappingProxyType({"x": x})):
        found = list(parts(given, 2))
        if not isinstance(given, MappingProxyType):
            assert all(type(part) is type(given) for part in found)
            assert torch.equal(torch.cat([part.y for part in found]), y)
            assert len(given.y) == 5
        assert len(found) == 3
    assert [type(part) for part in parts((x, y), 4)] == [tuple, tuple]
    assert [type(part) for part in parts([x, y], 4)] == [list, list]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_size": 0}, "chunk_size must be an integer >= 1, got 0"),
        (
            {"chunk_size": 2, "per": "batch"},
            "chunk_size must be None for per='batch', .* got 2",
        ),
    ],
)
def test_a_size_that_cannot_be_is_refused(options: Any, message: str) -> None:
    model = mlp()
    with pytest.raises(ValueError, match=message):
        second_moments(model, [batch(3)], **options)
    with pytest.raises(ValueError, match=message):
        RGO(
            model,
            torch.optim.SGD(model.parameters()),
            observe=partial(second_moments, **options),
        )


def test_training_alone_is_noticed_and_the_largest_batch_of_it() -> None:
    model = mlp()
    trained = TrainingBatch(model)
    model.eval()(batch(9)[0])
    assert trained.samples is None
    model.train()
    for size in (4, 6, 5):
        model(batch(size)[0])
    assert trained.samples == 6
    trained.detach()
    model(batch(8)[0])
    assert trained.samples == 6


class Bottleneck(nn.Module):
    """An adapter after Houlsby beside a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 6).requires_grad_(False)
        self.down, self.up = nn.Linear(6, 2), nn.Linear(2, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.up(self.down(x))


def beside(**options: Any) -> tuple[RGO, list[int]]:
    """Return an RGO after training with batches of 6, and what passes from then on."""
    torch.manual_seed(0)
    model, seen = Bottleneck(), []
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    rgo = RGO(model, optimizer, **{"encode": ["down", "up"], **options})
    rgo.begin_task(0)
    model(torch.randn(6, 6)).square().mean().backward()
    optimizer.step()
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return rgo, seen


def pair(size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 6), torch.arange(size) % 6


def summed(model: nn.Module, batch: Any) -> Tensor:
    scores: Tensor = model(batch[0]).sum(-1)
    return scores


def test_beside_adapters_half_a_training_batch_passes_at_once() -> None:
    rgo, seen = beside()
    rgo.end_task([pair(8)])
    assert seen == [3, 3, 2]
    given, seen = beside(observe=partial(second_moments, chunk_size=5))
    given.end_task([pair(8)], score=summed)
    assert seen == [5, 3]


def test_a_score_of_one_s_own_takes_whole_batches_unless_it_says_otherwise() -> None:
    rgo, seen = beside()
    rgo.observe([pair(8)], score=summed)
    assert seen == [8]
    rgo.observe([pair(8)], score=SampleScore(summed))
    assert seen == [8, 3, 3, 2]


def test_no_vector_of_a_batch_is_cut() -> None:
    rgo, seen = beside(observe=partial(second_moments, per="batch"), damping=0.1)
    rgo.end_task([pair(8)])
    assert seen == [8]


def test_what_adam_estimates_begins_anew_with_an_encoding() -> None:
    rgo, _ = beside()
    (optimizer,) = rgo.projector._optimizers
    assert len(optimizer.state) == 4
    rgo.end_task([pair(8)])
    rgo.begin_task(1)
    assert not optimizer.state
    rgo.model(torch.randn(6, 6)).square().mean().backward()
    optimizer.step()
    rgo.begin_task(1)  # again, as in a process that goes on in the middle
    assert len(optimizer.state) == 4
    plain, _ = beside(encode=False)
    plain.end_task([pair(8)])
    plain.begin_task(1)
    (kept,) = plain.projector._optimizers
    assert len(kept.state) == 4
