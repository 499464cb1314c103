from typing import Any

import pytest
import torch
from bench.small_settings import (
    SPLIT,
    learn,
    samples,
    through_a_file,
    tiny_setting,
)
from torch import Tensor

from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.methods.method import MethodOptions
from rgo_bench.methods.replay import (
    ER,
    DEROptions,
    DERPlusPlus,
    ERRing,
    ReplayOptions,
    ReservoirOptions,
)
from rgo_bench.methods.replay_memory import (
    Replay,
    Reservoir,
    RingMemory,
    decoded,
    encoded,
    rgo_bytes,
)
from rgo_bench.methods.rgo import RGO, RGOOptions
from rgo_bench.methods.sgd import SGD

SETTING = tiny_setting()


def everything(memory: RingMemory) -> set[tuple[float, ...]]:
    replay = memory.draw(len(memory))
    return {(*map(float, x), int(y)) for x, y in zip(replay.x, replay.y, strict=True)}


def last_of_each_class(x: Tensor, y: Tensor, count: int) -> set[tuple[float, ...]]:
    seen: dict[int, list[tuple[float, ...]]] = {}
    for sample, label in zip(x, y, strict=True):
        ring = seen.setdefault(int(label), [])
        ring.append((*map(float, sample), int(label)))
        del ring[:-count]
    return {sample for ring in seen.values() for sample in ring}


@pytest.mark.parametrize("per_class", [1, 3])
def test_the_memory_holds_the_last_of_each_class_of_each_task(per_class: int) -> None:
    memory = RingMemory(SETTING, per_class)
    expected: set[tuple[float, ...]] = set()
    for task in range(3):
        x, y = samples(task, SETTING)
        memory.add(task, x, y)
        expected |= last_of_each_class(x, y, per_class)
        assert len(memory) == 4 * per_class * (task + 1)
    assert everything(memory) == expected


def test_a_class_with_less_samples_than_places_keeps_them_all() -> None:
    memory = RingMemory(SETTING, 5)
    memory.add(0, torch.arange(3.0)[:, None], torch.tensor([0, 2, 0]))
    assert everything(memory) == {(0.0, 0), (1.0, 2), (2.0, 0)}


def test_a_draw_takes_no_sample_twice_and_no_more_than_asked_for() -> None:
    memory = RingMemory(SETTING, 4)
    memory.add(0, *samples(0, SETTING))
    for _ in range(20):
        drawn = memory.draw(10)
        assert len(torch.unique(drawn.x, dim=0)) == len(drawn.y) == 10
    assert len(memory.draw(100).y) == 16


def test_every_sample_is_drawn_as_often_as_any_other() -> None:
    memory = RingMemory(SETTING, 5)
    x = torch.arange(20.0)[:, None]
    memory.add(0, x, torch.arange(20) % 4)
    draws = torch.cat([memory.draw(10).x[:, 0] for _ in range(2000)])
    counts = torch.bincount(draws.long(), minlength=20)
    # 1000 expected, of standard deviation 22.
    assert int(counts.min()) > 1000 - 5 * 22
    assert int(counts.max()) < 1000 + 5 * 22


def test_a_task_drawn_comes_with_all_its_samples_and_its_mask() -> None:
    setting = tiny_setting(SPLIT)
    memory = RingMemory(setting, 2)
    for task in (0, 1, 2):
        memory.add(task, *samples(task, setting))
    drawn = set()
    for _ in range(20):
        task, replay = memory.draw_task()
        drawn.add(task)
        rows = {(*map(float, x), int(y)) for x, y in zip(*replay[:2], strict=True)}
        assert rows == last_of_each_class(*samples(task, setting), 2)
        assert replay.mask is not None
        expected = SPLIT[task].expand(len(replay.y), -1)
        torch.testing.assert_close(replay.mask, expected, rtol=0, atol=0)
    assert drawn == {0, 1, 2}


def test_every_task_is_drawn_as_often_as_any_other() -> None:
    memory = RingMemory(SETTING, 5)
    for task, count in enumerate((1, 30, 4)):  # however many samples it has
        memory.add(task, *samples(task, SETTING, count))
    drawn = torch.tensor([memory.draw_task()[0] for _ in range(3000)])
    # 1000 expected, of standard deviation 26.
    assert (torch.bincount(drawn, minlength=3) - 1000).abs().max() < 5 * 26


def test_draws_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    def draw(seed: int) -> Tensor:
        memory = RingMemory(SETTING._replace(seed=seed), 5)
        memory.add(0, *samples(0, SETTING))
        return torch.stack([memory.draw(10).x for _ in range(3)])

    torch.testing.assert_close(draw(1), draw(1), rtol=0, atol=0)
    assert not torch.equal(draw(1), draw(2))


def test_each_sample_has_the_mask_of_its_own_task() -> None:
    setting = tiny_setting(SPLIT)
    memory = RingMemory(setting, 2)
    for task in range(2):
        memory.add(task, *samples(task, setting))
    drawn = memory.draw(8)
    assert drawn.mask is not None
    for label, mask in zip(drawn.y, drawn.mask, strict=True):
        torch.testing.assert_close(mask, SPLIT[int(label) // 2], rtol=0, atol=0)


def test_a_memory_restored_from_a_file_draws_on_where_it_stood() -> None:
    setting = tiny_setting(SPLIT)
    memory, restored = RingMemory(setting, 2), RingMemory(setting, 2)
    memory.add(0, *samples(0, setting))
    memory.draw(3)
    restored.load_state_dict(through_a_file(memory.state_dict()))
    for each in (memory, restored):
        each.add(1, *samples(1, setting))
    assert len(restored) == len(memory)
    for _ in range(3):
        same(restored.draw(3), memory.draw(3))
        (one, of_one), (other, of_other) = restored.draw_task(), memory.draw_task()
        assert one == other
        same(of_one, of_other)


def same(actual: Replay, expected: Replay) -> None:
    for one, other in zip(actual[:3], expected[:3], strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_an_empty_memory_restores_an_empty_one() -> None:
    memory = RingMemory(SETTING, 1)
    memory.load_state_dict(through_a_file(RingMemory(SETTING, 1).state_dict()))
    assert len(memory) == 0


def test_an_empty_memory_gives_nothing() -> None:
    for draw in (lambda memory: memory.draw(1), RingMemory.draw_task):
        with pytest.raises(ValueError, match="the memory is empty: add a task before"):
            draw(RingMemory(SETTING, 1))


def test_a_method_keeps_the_samples_of_the_tasks_it_learned() -> None:
    method = ERRing(SETTING, ReplayOptions(per_class=2))
    learn(method, 0, 1)
    expected = set()
    for task in (0, 1):
        expected |= last_of_each_class(*samples(task, SETTING), 2)
    assert everything(method.memory) == expected


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
