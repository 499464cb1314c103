"""Trees of tensors, as a module takes and returns, taken apart and rebuilt."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from rgo_torch.modules.torch_private import pytree


class Opened:
    """A named tuple as a branch of the tree that it is in, whatever it derives from.

    PyTorch 2.6 takes for a leaf what derives from a named tuple, as `PackedSequence`
    does; later versions take it for a branch. Its tensors would not be found there, and
    what follows it would have another place among the leaves: the final states of a
    packed recurrent network were taken for its outputs.
    """

    def __init__(self, named: Any) -> None:
        self.named = named


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """Return the leaves of a tree, and its form."""
    leaves, form = pytree.tree_flatten(tree)
    if any(map(_is_named_tuple, leaves)):
        leaves, form = pytree.tree_flatten(opened(tree))
    return leaves, form


def unflatten(leaves: Iterable[Any], form: Any) -> Any:
    """Return a tree of that form with other leaves."""
    return pytree.tree_unflatten(leaves, form)


def leaves_of(tree: Any) -> list[Any]:
    """Return the leaves of a tree."""
    return flatten(tree)[0]


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Return a tree with a function's value in place of each tensor."""
    leaves, form = flatten(tree)
    changed = [function(x) if isinstance(x, Tensor) else x for x in leaves]
    return unflatten(changed, form)


def opened(tree: Any) -> Any:
    """Return a tree with each named tuple opened; its form still has the tuples."""
    return pytree.tree_map(
        lambda part: Opened(part) if _is_named_tuple(part) else part,
        tree,
        is_leaf=_is_named_tuple,
    )


def _is_named_tuple(part: Any) -> bool:
    return isinstance(part, tuple) and hasattr(part, "_fields")


pytree.register_pytree_node(
    Opened,
    lambda branch: ([opened(entry) for entry in branch.named], type(branch.named)),
    lambda entries, kind: kind(*entries),
)
