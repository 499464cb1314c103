"""Buffers of unusual layouts."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rgo_torch import RGO

FEATURES, CLASSES, SAMPLES = 6, 3, 12


def batches() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    drawn = torch.randn(2, SAMPLES, FEATURES)
    return [(x, torch.arange(SAMPLES) % CLASSES) for x in drawn]


def begun(model: nn.Module) -> RGO:
    rgo = RGO(model, torch.optim.SGD(model.parameters(), lr=0.1))
    rgo.begin_task(0)
    return rgo


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
