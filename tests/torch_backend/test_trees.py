"""Every tensor of a tree is found, and the tree is rebuilt as it was."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch_backend.observed_kinds import Case, assert_observed, normal

from rgo_torch.modules.torch_private import pytree
from rgo_torch.modules.trees import flatten, leaves_of, map_tensors, opened, unflatten


class Pair(NamedTuple):
    first: Any
    second: Any


class Derived(Pair):
    """What PyTorch 2.6 takes for a leaf."""


def opened_first(tree: Any) -> tuple[list[Any], Any]:
    leaves, form = pytree.tree_flatten(opened(tree))
    return leaves, form


@pytest.mark.parametrize("take_apart", [flatten, opened_first])
@pytest.mark.parametrize("kind", [Pair, Derived])
def test_named_tuples_are_branches(
    take_apart: Callable[[Any], tuple[list[Any], Any]], kind: type[Pair]
) -> None:
    tree = {"a": [kind(0, kind(1, (2, None)))], "b": kind({"c": 3}, 4)}
    leaves, form = take_apart(tree)
    assert leaves == [0, 1, 2, None, 3, 4]
    assert unflatten(leaves, form) == tree
    other = unflatten("abcdef", form)
    assert other == {
        "a": [kind("a", kind("b", ("c", "d")))],
        "b": kind({"c": "e"}, "f"),
    }
    assert type(other["a"][0].second) is type(other["b"]) is kind


def test_packed_sequences_are_cut_from_the_graph() -> None:
    x = torch.ones(2, 3, 1, requires_grad=True)
    packed = pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True)
    given, state = map_tensors(Tensor.detach, (packed, x))
    assert type(given) is PackedSequence
    assert not given.data.requires_grad
    assert not state.requires_grad
    assert torch.equal(given.data, packed.data)
    assert len(leaves_of((packed, x))) == 5


class Branching(nn.Linear):
    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return Derived(y[:, :2], [y[:, 2:], x])


def test_outputs_in_a_derived_named_tuple_count() -> None:
    torch.manual_seed(0)

    def call(module: nn.Module, x: Tensor) -> Tensor:
        left, (right, _) = module(x)
        return torch.cat([left.sin(), right], 1)

    assert_observed(Case(Branching(4, 3), normal(3, 4), call))
