"""Parameters that a model uses apart from calls of their modules, and their vectors.

A layer is observed where its module is called. A model may take a weight out of a
module and multiply by it itself (a state-space block its convolution's, a language
model its embedding for a head): what the calls tell is then nothing, or a part.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from rgo_core._checks import few_names
from rgo_torch.layers.embedding import EmbeddingLayer
from rgo_torch.layers.layer import Layer
from rgo_torch.layers.rows import RowLayer
from rgo_torch.layers.transformed import TransformedLayer
from rgo_torch.observation.calls import Calls, observed_calls
from rgo_torch.parameters import ProjectedParameter
from rgo_torch.score import Score
from rgo_torch.warning import warn_caller
from rgo_torch.wrappers import named_modules

# Each call of theirs reaches a parameter of theirs once.
ONCE = (RowLayer, EmbeddingLayer)


class Apart:
    """The layers of a model, and what else has to be called again for its parameters.

    Looks at the first forward pass for uses that no call of a layer tells of.

    Parameters
    ----------
    model : nn.Module
    layers : sequence of Layer
    parameters : iterable of ProjectedParameter
        What is found to be used apart is given another use.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        parameters: Iterable[ProjectedParameter],
    ) -> None:
        self._model, self._layers = model, list(layers)
        self._modules = dict(named_modules(model))
        self._parameters = list(parameters)
        self._has_looked = False
        # Parameters, with the modules that may be called again for them: nearest first.
        self._found: list[tuple[ProjectedParameter, list[str]]] = []

    def calls(self, score: Score, batch: Any) -> tuple[Calls, int]:
        """Run one batch, as `observed_calls` does; the first again where that is asked.

        Warns
        -----
        UserWarning
            Of parameters that are used apart, and of those among them that no module
            was called for.
        """
        if self._has_looked:
            return observed_calls(self._layers, self._model, score, batch)
        model, layers = self._model, self._layers
        calls, count = observed_calls(layers, model, score, batch, self._look)
        if self._found:
            names = dict.fromkeys(name for _, above in self._found for name in above)
            above = {n: TransformedLayer(n, self._modules[n], {}) for n in names}
            layers = [*layers, *above.values()]
            calls, count = observed_calls(layers, model, score, batch)
            self._layers += self._settled(calls, above)
        self._has_looked = True
        return calls, count

    def _look(self, scores: Tensor, calls: Calls) -> None:
        """Find what scores depend on by more ways than there are calls."""
        ways = _ways_to_leaves(scores)
        for parameter in self._parameters:
            called = [(layer, len(calls[layer])) for layer, _ in parameter.uses]
            if any(count and not isinstance(layer, ONCE) for layer, count in called):
                continue  # called again, it tells of all that it does
            count = sum(count for _, count in called)
            if ways[id(parameter.tensor)] > count:
                self._found.append((parameter, self._ancestors(parameter, bool(count))))

    def _settled(
        self, calls: Calls, layers: Mapping[str, TransformedLayer]
    ) -> list[Layer]:
        """Give each parameter found to the nearest module that was called."""
        lost: list[str] = []
        given: dict[str, list[str]] = {}
        for parameter, above in self._found:
            name = next((name for name in above if calls[layers[name]]), None)
            if name is None:
                lost.append(parameter.name)
                continue
            own = parameter.name.removeprefix(f"{name}." if name else "")
            layers[name].axes[own] = parameter.axes
            parameter.uses[:] = [(layers[name], own)]
            given.setdefault(name, []).append(parameter.name)
        _warn(given, lost)
        return [layers[name] for name in given]

    def _ancestors(self, parameter: ProjectedParameter, called: bool) -> list[str]:
        """Return whose calls hold all uses: of one that is called as well, the model's.

        The name of a tied parameter is that of its first use.
        """
        if called or len(parameter.uses) > 1:
            return [""]
        path = parameter.name.split(".")[:-1]
        above = (".".join(path[:length]) for length in reversed(range(len(path))))
        return [name for name in above if name in self._modules]


def _ways_to_leaves(scores: Tensor) -> Mapping[int, int]:
    """Return how many operations take each leaf, by its id."""
    ways: Counter[int] = Counter()
    for node in _nodes(scores):
        for following, _ in node.next_functions:
            leaf = getattr(following, "variable", None)
            if leaf is not None:
                ways[id(leaf)] += 1
    return ways


def _nodes(scores: Tensor) -> Iterator[Node]:
    waiting, seen = [scores.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [following for following, _ in node.next_functions]


def _warn(given: Mapping[str, Sequence[str]], lost: Sequence[str]) -> None:
    if given:
        names = [name for of_one in given.values() for name in of_one]
        modules = few_names([name or "the whole model" for name in given])
        warn_caller(
            f"{few_names(names)}: used without a call of the module: observed by "
            f"calling {modules} again for each sample, which is slower, and what is "
            "computed there is not encoded; a call of the module itself spares both. "
            "What multiplies the other way round there (a tied decoder) is protected "
            "little: give it a weight of its own"
        )
    if lost:
        warn_caller(
            f"{few_names(lost)}: used without a call of the module, by none that was "
            "called: not observed, and not protected. Let the score call the model"
        )
