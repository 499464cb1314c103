"""The encoding inside of recurrent modules: what their matrices multiply, step by step.

A permutation of what a module gives out leaves the recurrence itself in one order for
all tasks. So states are permuted before they meet the weights of the next step, and
between stacked layers: with ``y = x[order]`` a product ``W y`` is that of x and W's
columns in the inverse order, which serves the fused kernels too. Gates act on states in
their own order.
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from rgo_torch.encoding.feature_encoding import FeatureEncoding
from rgo_torch.encoding.hooks import CELLS, DecodeStates, Encode, EncodeStates
from rgo_torch.modules.hooks import ModuleHook
from rgo_torch.modules.torch_private import (
    forward_hooks,
    has_substituted_weights,
    substituted_weights,
)

# Of a name in the module, and a width.
Make = Callable[[str, int], FeatureEncoding]


class EncodeRecurrence(Encode):
    """Has matrices multiply permuted states, from before the forward until after it.

    Parameters
    ----------
    encoding : FeatureEncoding
        Of a layer's states.
    between : FeatureEncoding, optional
        Of what a layer takes in from the one below.
    """

    is_before = True

    def __init__(
        self, encoding: FeatureEncoding, between: FeatureEncoding | None
    ) -> None:
        super().__init__(encoding)
        self.between = between

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Substitute the weights."""
        if has_substituted_weights(module):  # an interrupt came before they went back
            substituted_weights(module, {})
        found = {}
        for name, weight in weights_of(module):
            encoding = self.of(name)
            if encoding is not None and not encoding.is_identity:
                found[name] = encoding.columns(weight)
        if found:
            substituted_weights(module, found)

    def of(self, weight: str) -> FeatureEncoding | None:
        """Return what permutes the inputs of a weight, by its name in the module."""
        if weight.startswith("weight_hh"):
            return self.encoding
        is_first = weight == "weight_ih" or weight.startswith("weight_ih_l0")
        is_above = weight.startswith("weight_ih") and not is_first
        return self.between if is_above else None


class RestoreRecurrence(ModuleHook):
    """Puts a module's own weights back, whatever became of its forward."""

    is_always_called = True

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Restore the weights."""
        substituted_weights(module, {})


class OwnWeights:
    """A handle like a hook's: when it is removed, a module has its own weights.

    The forward in which they were substituted may have been interrupted.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def remove(self) -> None:
        """Restore the weights."""
        substituted_weights(self._module, {})


def recurrent_hooks(
    module: nn.Module, encoding: FeatureEncoding, make: Make
) -> list[ModuleHook]:
    """Return the hooks on a recurrent module, beside that on its output.

    Parameters
    ----------
    module : nn.Module
    encoding : FeatureEncoding
        Of what it gives out.
    make : callable
        Makes the encodings that are inside.
    """
    width = getattr(module, "proj_size", 0) or int(module.hidden_size)  # type: ignore[arg-type]
    directions = encoding.width // width
    # In the order of the outputs, the last of which is the final state.
    states = encoding if directions == 1 else make("state", width)
    stacked = not isinstance(module, CELLS) and int(module.num_layers) > 1  # type: ignore[arg-type]
    between = make("between", encoding.width) if stacked else None
    recurrence = EncodeRecurrence(make("recurrence", width), between)
    return [DecodeStates(states), recurrence, EncodeStates(states), RestoreRecurrence()]


def permuted_inputs(module: nn.Module, weight: str, inputs: Tensor) -> Tensor:
    """Return what a weight of a recurrent module multiplies, by its name there."""
    for hooks in forward_hooks(module):
        for hook in hooks.values():
            encoding = hook.of(weight) if isinstance(hook, EncodeRecurrence) else None
            if encoding is not None:
                return encoding.forward(inputs)
    return inputs


def weights_of(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yield the matrices that a recurrent module multiplies by now, by name."""
    names = [name for name, _ in module.named_parameters(recurse=False)]
    for name in names:
        if name.startswith(("weight_hh", "weight_ih")):
            yield name, getattr(module, name)
