"""Buffers: what the curvature pass moves of them, and those of unusual layouts."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import (
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torch.nn.functional import cross_entropy

from rgo_torch import RGO
from rgo_torch.modules.buffers import MOST_INTEGERS

FEATURES, CLASSES, SAMPLES = 6, 3, 12


class Seen(nn.Module, ABC):
    """Looks at what passes through it, in eval mode too."""

    def __init__(self, start: Tensor, *, persistent: bool = True) -> None:
        super().__init__()
        self.register_buffer("seen", start, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.look(x)
        return x

    @abstractmethod
    def look(self, x: Tensor) -> None:
        """Change what is kept."""


class Queue(Seen):
    def look(self, x: Tensor) -> None:
        self.seen.copy_(torch.cat([self.seen[1:], x[:1]]))


class ByData(Seen):
    def look(self, x: Tensor) -> None:
        self.seen.data.add_(len(x))


class Replaced(Seen):
    def look(self, x: Tensor) -> None:
        self.seen = self.seen + 1


class Bank(Seen):
    def look(self, x: Tensor) -> None:
        self.seen = torch.cat([self.seen, x])


class Sized(Seen):
    """Has no entries before it has seen some."""

    def look(self, x: Tensor) -> None:
        self.seen.resize_(x.shape[-1:]).copy_(x.mean(0))


class Table(Seen):
    """Grows with what it meets, and keeps beside it how long it is."""

    length = 0

    def look(self, x: Tensor) -> None:
        if len(x) > self.length:
            self.length = len(x)
            self.seen = torch.zeros(len(x))
        assert len(self.seen[: len(x)]) == len(x)


def model_with(seen: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, FEATURES), nn.Sequential(seen), nn.Linear(FEATURES, CLASSES)
    )


def batches() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    drawn = torch.randn(2, SAMPLES, FEATURES)
    return [(x, torch.arange(SAMPLES) % CLASSES) for x in drawn]


def begun(model: nn.Module) -> RGO:
    rgo = RGO(model, torch.optim.SGD(model.parameters(), lr=0.1))
    rgo.begin_task(0)
    return rgo


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_same(model: nn.Module, before: dict[str, Tensor]) -> None:
    after = dict(model.named_buffers())
    assert after.keys() == before.keys()
    for name, buffer in after.items():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0, equal_nan=True)


MOVING = {
    "queue": lambda: Queue(torch.randn(4, FEATURES)),
    "by-data": lambda: ByData(torch.zeros((), dtype=torch.int64)),
    "unfilled": lambda: ByData(torch.full((2,), torch.nan)),
    "replaced": lambda: Replaced(torch.zeros(2, dtype=torch.complex64)),
    "bank": lambda: Bank(torch.randn(2, FEATURES)),
    "sized": lambda: Sized(torch.tensor([])),
    "observer": MovingAverageMinMaxObserver,
    "observer-of-channels": lambda: MovingAveragePerChannelMinMaxObserver(ch_axis=1),
}


@pytest.mark.parametrize("make", MOVING.values(), ids=MOVING)
@pytest.mark.parametrize("is_trained", [False, True])
def test_what_the_pass_moves_of_buffers_is_put_back(
    make: Callable[[], nn.Module], is_trained: bool
) -> None:
    model = model_with(make())
    rgo = begun(model)
    if is_trained:
        cross_entropy(model(3 * batches()[0][0]), batches()[0][1]).backward()
    before, tensors = copied(model), list(model.buffers())
    rgo.observe(batches())
    assert_same(model, before)
    assert all(now is then for now, then in zip(model.buffers(), tensors, strict=True))


def test_it_is_put_back_where_the_pass_fails() -> None:
    model = model_with(MOVING["queue"]())
    rgo = begun(model)
    before = copied(model)

    def failing() -> Iterator[Any]:
        yield from batches()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rgo.end_task(failing())
    assert_same(model, before)


def test_a_table_that_grew_in_the_pass_stays_as_long_as_its_module_says() -> None:
    model = model_with(Table(torch.zeros(0), persistent=False))
    model(batches()[0][0][:2])
    begun(model).end_task(batches())
    model(batches()[0][0][:5])  # shorter than in the pass, longer than before


def test_of_more_integers_than_a_counter_has_no_copy_is_made() -> None:
    most, more = (torch.zeros(MOST_INTEGERS + i, dtype=torch.int32) for i in (0, 1))
    for start, moves in ((most, False), (more, True)):
        model = model_with(ByData(start))
        begun(model).end_task(batches())
        assert bool(start.any()) == moves


LAYOUTS = {
    "coo": Tensor.to_sparse,
    "csr": Tensor.to_sparse_csr,
    "csc": Tensor.to_sparse_csc,
    "bsr": lambda dense: dense.to_sparse_bsr((1, 1)),
    "mkldnn": Tensor.to_mkldnn,
}


class Graph(nn.Module):
    """A layer over the nodes of a graph."""

    def __init__(self, edges: Tensor) -> None:
        super().__init__()
        self.register_buffer("edges", edges)
        self.layer = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        met = self.layer(x)
        return met + self.edges.to_dense() @ met


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("entries", [None, 0, 1])
def test_a_buffer_that_is_sparse_is_told_of_if_it_changed_and_only_then(
    layout: Callable[[Tensor], Tensor], entries: int | None
) -> None:
    dense = torch.eye(SAMPLES)
    model = Graph(layout(dense))
    rgo = begun(model)
    for x, y in batches():
        cross_entropy(model(x), y).backward()
    if entries is not None:  # another value, or one entry more
        dense[0, entries] += 0.5
        model.edges = layout(dense)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rgo.end_task(batches())
    told = [w for w in caught if "edges: buffers that training changed" in str(w)]
    assert len(told) == (entries is not None)
