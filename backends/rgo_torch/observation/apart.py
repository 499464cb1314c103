"""Parameters that a model uses apart from calls of their modules, and their vectors.

A layer is observed where its module is called. A model may take a weight out of a
module and multiply by it itself (a state-space block its convolution's, a language
model its embedding for a head): what the calls tell is then nothing, or a part.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from rgo_core._checks import few_names
from rgo_core.vectors import Per
from rgo_torch.layers.embedding import EmbeddingLayer
from rgo_torch.layers.graph import ways_to_leaves
from rgo_torch.layers.layer import Layer
from rgo_torch.layers.rows import RowLayer
from rgo_torch.layers.transformed import TransformedLayer
from rgo_torch.modules.warning import warn_caller
from rgo_torch.modules.wrappers import named_modules
from rgo_torch.observation.audit import Audited, find_mistold
from rgo_torch.observation.calls import Calls, observed_calls
from rgo_torch.observation.mixing import (
    Halves,
    find_mixed,
    gradients_of_half,
    warn_of_mixed,
)
from rgo_torch.observation.reads import Watched, warn_of_read
from rgo_torch.observation.score import Score
from rgo_torch.parameters.parameter import ProjectedParameter

# What comes of calling a module again in a way that it cannot be.
FAILURES = (RuntimeError, ValueError, IndexError, TypeError)

# Each call of theirs reaches a parameter of theirs once.
ONCE = (RowLayer, EmbeddingLayer)


class Apart:
    """The layers of a model, and what else has to be called again for its parameters.

    Looks at the first batch for uses that no call of a layer tells of, and for calls
    that tell of something else than the parameter's gradient.

    Parameters
    ----------
    model : nn.Module
    layers : sequence of Layer
    parameters : iterable of ProjectedParameter
        What is found to be used apart is given another use.
    per : {"sample", "batch", "position"} or None
        What has a vector.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        parameters: Iterable[ProjectedParameter],
        per: Per | None,
    ) -> None:
        self._model, self._layers = model, list(layers)
        self._modules = dict(named_modules(model))
        self._parameters = list(parameters)
        self._per = per
        self._has_looked = False
        self._frozen = {p.name for p in self._parameters if not p.tensor.requires_grad}
        # Parameters, with the modules that may be called again for them: nearest first.
        self._found: list[tuple[ProjectedParameter, list[str]]] = []
        self._halves: Halves = {}
        # Encoded modules, with what of theirs is used without a call of them.
        self._read: Mapping[str, Collection[str]] = {}

    def calls(self, score: Score, batch: Any) -> tuple[Calls, int]:
        """Run one batch, as `observed_calls` does; the first again where that is asked.

        Warns
        -----
        UserWarning
            Of parameters that are used apart, of those among them that no module was
            called for, of layers that samples share, and of encoded ones that are both
            called and read.
        """
        if self._has_looked:
            return observed_calls(self._layers, self._model, score, batch)
        calls, count, gradients = self._first(score, batch)
        mistold = partial(find_mistold, gradients, per=self._per, samples=count)
        apart = {parameter.name for parameter, _ in self._found}
        try:
            doubted = self._with_siblings(mistold(self._parameters, calls), apart)
        except FAILURES:
            doubted = []  # what fails is raised where vectors are folded
        self._found += [(parameter, [""]) for parameter in doubted]
        mixed = find_mixed(self._halves, calls, self._per, count)
        if self._found:
            before = {p.name: list(p.uses) for p in doubted}
            names = dict.fromkeys(name for _, above in self._found for name in above)
            above = {n: TransformedLayer(n, self._modules[n], {}) for n in names}
            layers = [*self._layers, *above.values()]
            calls, count = observed_calls(layers, self._model, score, batch)
            given, lost = self._settle(calls, above)
            self._layers += [above[name] for name in dict.fromkeys(given.values())]
            try:
                wrong = {parameter.name for parameter in mistold(doubted, calls)}
            except FAILURES:
                wrong = set(before)  # the model cannot be called again
            for parameter in doubted:
                if parameter.name in wrong:
                    parameter.uses[:] = before[parameter.name]
            _warn_of_apart({n: m for n, m in given.items() if n in apart}, lost & apart)
            _warn_of_doubted(before, wrong)
        serving = {layer for p in self._parameters for layer, _ in p.uses}
        warn_of_mixed(layer for layer in mixed if layer in serving)
        self._has_looked = count > 0
        warn_of_read(self._read, self._modules, apart)
        return calls, count

    def _with_siblings(
        self, doubted: Sequence[ProjectedParameter], apart: Collection[str]
    ) -> list[ProjectedParameter]:
        """Add the parameters of the same layers, and leave out what is frozen.

        What a forward of somebody's own does shows in any of a layer's, and best in
        those of large gradients.
        """
        layers = {id(layer) for p in doubted for layer, _ in p.uses}
        return [
            p
            for p in self._parameters
            if any(id(layer) in layers for layer, _ in p.uses)
            and p.name not in {*apart, *self._frozen}
        ]

    def _first(
        self, score: Score, batch: Any
    ) -> tuple[Calls, int, Mapping[str, Tensor]]:
        """Run a batch and look at it; return the gradients of its parameters too.

        No gradients where the model or the score cannot do with stand-ins for them.
        """
        gradients: dict[str, Tensor] = {}
        watched = Watched(score, self._modules)
        self._read = watched.read
        try:
            audited = Audited(watched, self._model, self._parameters)

            def look(scores: Tensor, calls: Calls) -> None:
                self._look(audited.leaves, scores, calls)
                self._halves = gradients_of_half(scores, calls, self._per)
                gradients.update(audited.gradients(scores))

            found = observed_calls(self._layers, self._model, audited, batch, look)
        except Exception:  # what fails without them too is raised there
            own = {p.name: p.tensor for p in self._parameters}
            look_alone = partial(self._look, own)
            found = observed_calls(self._layers, self._model, score, batch, look_alone)
            gradients.clear()
            self._halves = {}
        return *found, gradients

    def _look(self, leaves: Mapping[str, Tensor], scores: Tensor, calls: Calls) -> None:
        """Find what scores depend on by more ways than there are calls."""
        self._found = []
        ways = ways_to_leaves(scores)
        for parameter in self._parameters:
            called = [(layer, len(calls[layer])) for layer, _ in parameter.uses]
            if any(count and not isinstance(layer, ONCE) for layer, count in called):
                continue  # called again, it tells of all that its module does
            count = sum(count for _, count in called)
            if ways[id(leaves[parameter.name])] > count:
                self._found.append((parameter, self._ancestors(parameter, bool(count))))

    def _settle(
        self, calls: Calls, layers: Mapping[str, TransformedLayer]
    ) -> tuple[dict[str, str], set[str]]:
        """Give each parameter found to the nearest module that was called.

        Returns whose they are by name, and the trained ones without a module called.
        """
        given: dict[str, str] = {}
        lost: set[str] = set()
        for parameter, above in self._found:
            name = next((name for name in above if calls[layers[name]]), None)
            if name is None:
                lost |= {parameter.name} - self._frozen  # what is not trained stays
                continue
            own = parameter.name.removeprefix(f"{name}." if name else "")
            layers[name].axes[own] = parameter.axes
            parameter.uses[:] = [(layers[name], own)]
            given[parameter.name] = name
        return given, lost

    def _ancestors(self, parameter: ProjectedParameter, called: bool) -> list[str]:
        """Return whose calls hold all uses: of one that is called as well, the model's.

        The name of a tied parameter is that of its first use.
        """
        if called or len(parameter.uses) > 1:
            return [""]
        path = parameter.name.split(".")[:-1]
        above = (".".join(path[:length]) for length in reversed(range(len(path))))
        return [name for name in above if name in self._modules]


def _warn_of_apart(given: Mapping[str, str], lost: Collection[str]) -> None:
    if given:
        modules = dict.fromkeys(name or "the whole model" for name in given.values())
        warn_caller(
            f"{few_names(list(given))}: used without a call of the module: observed by "
            f"calling {few_names(list(modules))} again for each sample, which is "
            "slower, and what is computed there is not encoded; a call of the module "
            "itself spares both. What multiplies the other way round there (a tied "
            "decoder) is protected little: give it a weight of its own"
        )
    if lost:
        warn_caller(
            f"{few_names(sorted(lost))}: used without a call of its module, and by "
            "no module that was called: neither observed nor protected. Let the score "
            "call the model"
        )


def _warn_of_doubted(names: Collection[str], wrong: Collection[str]) -> None:
    reason = (
        "what goes in and out of their modules does not tell their gradient, as where "
        "a forward or a hook was put in place, they are used elsewhere too, or a "
        "tensor of all samples has as many entries as there are samples"
    )
    if right := [name for name in names if name not in wrong]:
        warn_caller(
            f"{few_names(right)}: {reason}: observed by calling the whole model again "
            "for each sample, which is slower"
        )
    if wrong:
        warn_caller(
            f"{few_names(sorted(wrong))}: {reason}; calling the whole model again for "
            "each sample does not either, as where it draws numbers: what was observed "
            "of them may protect little"
        )
