"""Hooks on modules that can be pickled, and that tell copies from themselves.

PyTorch copies a model with its hooks. Those of a copy go on as they are, so that an
average of the weights, or a teacher, is encoded as its model is; they belong to nobody,
and give way to whatever is attached to the copy.
"""

import copy
from typing import Any, Self

from torch import nn
from torch.utils.hooks import RemovableHandle

from rgo_torch.modules.torch_private import forget_hook_flags, forward_hooks


class ModuleHook:
    """What is registered on a module; a copy of it shares what it does.

    Attributes
    ----------
    copied : bool
        Whether it came here with a copy of the model, by `copy.deepcopy` or `pickle`.
    is_before : bool
        Whether it is called before the forward, and not after it.
    is_always_called : bool
        Whether it is after a forward that raised, too.
    """

    copied = False
    is_before = False
    is_always_called = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"copied": True}


def remove_all(handles: list[RemovableHandle]) -> None:
    """Remove hooks by their handles, and forget these."""
    for handle in handles:
        handle.remove()
    handles.clear()


def remove_copied(model: nn.Module, kind: type[ModuleHook] = ModuleHook) -> None:
    """Remove the hooks that came with a copy of another model.

    Raises
    ------
    ValueError
        If the model has one of `kind` of its own: something is attached to it already.
    """
    found = [
        (name, hooks, number, hook)
        for name, module in model.named_modules()
        for hooks in forward_hooks(module)
        for number, hook in hooks.items()
        if isinstance(hook, kind)
    ]
    for name, _, _, hook in found:
        if not hook.copied:
            raise already_attached(name)
    for _, hooks, number, _ in found:
        del hooks[number]
    for module in model.modules():
        forget_hook_flags(module)


def already_attached(name: str) -> ValueError:
    """Return the error of what would be encoded, or projected, twice."""
    return ValueError(
        f"{name or 'the model'}: expected a model that nothing of rgo_torch is "
        "attached to, got one that is encoded or projected already; detach() that one "
        "first, two would permute and project twice"
    )


class Uncopied:
    """What holds hooks on one model, and so is neither copied nor pickled."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise self._uncopied()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise self._uncopied()

    def _uncopied(self) -> TypeError:
        kind = type(self).__name__
        article = "an" if kind == "RGO" else "a"
        return TypeError(
            f"{article} {kind} cannot be copied or pickled: its hooks are on one "
            "model. Copy the model and the optimizer, attach a new one, and load this "
            "one's state_dict into it"
        )
