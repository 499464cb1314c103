"""Sums over a process group: what travels, in which pieces."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, distributed

from rgo_core import DiagonalMoment, SecondMoment, SketchedMoment
from rgo_torch.distributed import sums
from rgo_torch.distributed.sums import BLOCK, sum_moments

FEATURES = BLOCK + 44


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    """A group of this process alone, in which every sum is what it was."""
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("needs gloo")
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many numbers travel at a time."""
    lengths: list[int] = []
    plain = distributed.all_reduce

    def counted(tensor: Tensor, **options: object) -> object:
        lengths.append(tensor.numel())
        return plain(tensor, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(distributed, "all_reduce", counted)
    return lengths


def matrix(groups: tuple[int, ...] = ()) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (*groups, 20, FEATURES)
    rows = torch.randn(shape, generator=generator, dtype=torch.float64)
    return rows.mT @ rows


@pytest.mark.parametrize("groups", [(), (2,)])
def test_what_is_left_of_the_diagonal_blocks_does_not_travel(
    groups: tuple[int, ...], sent: list[int]
) -> None:
    expected = matrix(groups)
    broken = expected.clone()
    broken[..., BLOCK:, :BLOCK] = torch.nan
    moments = {"weight": SecondMoment(broken, torch.tensor(20))}
    summed = sum_moments(moments, None)["weight"]
    assert torch.allclose(summed[0], expected, rtol=1e-14)
    assert int(summed.count) == 20
    travelled = BLOCK * FEATURES + (FEATURES - BLOCK) ** 2
    assert sum(sent) == 1 + travelled * (groups or (1,))[0]


def test_buckets_hold_what_fits_and_never_nothing(
    sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "BUCKET", 100)
    count = torch.tensor(1)
    lengths = {"a": 60, "b": 40, "c": 1, "d": 150, "e": 3}
    moments = {
        name: DiagonalMoment(torch.full((n,), float(n), dtype=torch.float64), count)
        for name, n in lengths.items()
    }
    summed = sum_moments(moments, None)
    assert sent == [5, 100, 1, 150, 3]
    assert all(bool((summed[n][0] == lengths[n]).all()) for n in lengths)
    assert list(summed) == list(lengths)


def test_what_others_own_is_left_out() -> None:
    count = torch.tensor(3)
    sketch = SketchedMoment(
        torch.ones(1, 4, dtype=torch.float64),
        torch.zeros((), dtype=torch.float64),
        torch.tensor(4.0, dtype=torch.float64),
        count,
    )
    moments = {"mine": SecondMoment(matrix(), count), "sketch": sketch}
    summed = sum_moments(moments, None, {"mine": 0, "sketch": 0})
    assert torch.allclose(summed["mine"][0], matrix(), rtol=1e-14)
    assert torch.equal(summed["sketch"][0], sketch.rows)
    assert int(summed["sketch"].count) == 3
