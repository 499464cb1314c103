"""The graph that autograd has of a forward pass, walked from its end."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node


def nodes_of(ends: Iterable[Node | None]) -> Iterator[Node]:
    """Yield every operation that ends depend on, once."""
    waiting, seen = list(ends), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [following for following, _ in node.next_functions]


def leaves_before(node: Node) -> Iterator[Tensor]:
    """Yield the leaves that an operation takes itself."""
    for following, _ in node.next_functions:
        leaf = getattr(following, "variable", None)
        if leaf is not None:
            yield leaf


def nodes_before(edges: Iterable[GradientEdge], leaf: Tensor | None) -> list[Node]:
    """Return the operations that take a leaf, among those that edges depend on."""
    nodes = nodes_of(edge.node for edge in edges)
    return [node for node in nodes if any(each is leaf for each in leaves_before(node))]


def ways_to_leaves(scores: Tensor) -> Mapping[int, int]:
    """Return how many operations take each leaf, by its id."""
    ways: Counter[int] = Counter()
    for node in nodes_of([scores.grad_fn]):
        ways.update(map(id, leaves_before(node)))
    return ways
