"""Whether a model's adapters are still those that RGO was attached to."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from rgo_torch.adapters.lora import Adapters, find_adapters, frozen_parameters
from rgo_torch.modules.hooks import ModuleHook, remove_all


class AdapterGuard:
    """Notices when adapters are no longer those that RGO was attached to.

    Parameters
    ----------
    model : nn.Module
    adapters : Adapters, optional
        None for a model whose places the user named.
    """

    def __init__(self, model: nn.Module, adapters: Adapters | None) -> None:
        self._model = model
        self._frozen = frozen_parameters(model)
        self._active = {} if adapters is None else adapters.active()
        self.handles = [
            module.register_forward_pre_hook(_CheckForward(name, self._active[name]))
            for name, module in (adapters.lora if adapters else {}).items()
        ]
        self.handles += [
            inner.register_forward_pre_hook(_CheckKept(name))
            for inner, name in _inner_models(model, adapters)
        ]

    def check(self) -> None:
        """Check that the same adapters are active and nothing else is trained.

        Raises
        ------
        RuntimeError
            If not.
        """
        if self._active:
            now = _active_now(self._model)
            for name in (*self._active, *now):
                _check_active(name, self._active.get(name, ()), now.get(name, ()))
        thawed = sorted(self._frozen - frozen_parameters(self._model))
        if thawed:
            raise RuntimeError(
                f"{', '.join(thawed)}: frozen when RGO was attached, trained now, and "
                "not protected; detach() RGO, attach a new one, and load this one's "
                "state into it"
            )

    def detach(self) -> None:
        """Look no more."""
        remove_all(self.handles)


class _CheckForward(ModuleHook):
    def __init__(self, name: str, expected: tuple[str, ...]) -> None:
        self.name, self.expected = name, expected

    def __call__(self, module: Any, args: Any) -> None:
        if module.merged:
            raise RuntimeError(
                f"{self.name}: its adapters {module.merged_adapters} are merged, which "
                "leaves no task's encoding but the first's; unmerge them, and use "
                "RGO.merge_for(task)"
            )
        if module.training:
            found = tuple(module.active_adapters)
            _check_active(self.name, self.expected, found)


class _CheckKept(ModuleHook):
    """Notices that adapters were merged and taken out: what is left has no order."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, args: Any) -> None:
        if not hasattr(module.get_submodule(self.name), "lora_A"):
            raise RuntimeError(
                f"{self.name}: its adapters were taken out of the model while RGO is "
                "attached (merge_and_unload), in the order of the first task: the "
                "outputs are not those of another. Use RGO.merge_for(task) in place of "
                "it, or detach() RGO if there was one task alone"
            )


def _inner_models(
    model: nn.Module, adapters: Adapters | None
) -> Iterator[tuple[nn.Module, str]]:
    """Yield what each model of PEFT has inside, with the name of a LoRA layer there.

    PEFT calls its forward past the hooks; who takes it out calls it itself.
    """
    lora = {} if adapters is None else adapters.lora
    mine = set(map(id, lora.values()))
    for module in model.modules():
        if callable(base := getattr(module, "get_base_model", None)):
            inner: nn.Module = base()
            names = (name for name, each in inner.named_modules() if id(each) in mine)
            if (first := next(names, None)) is not None:
                yield inner, first


def _check_active(name: str, expected: tuple[str, ...], found: tuple[str, ...]) -> None:
    if found != expected:
        raise RuntimeError(
            f"{name}: RGO was attached with the active adapters {list(expected)}, now "
            f"there are {list(found)}; switch back, or detach() RGO, and attach "
            "a new one"
        )


def _active_now(model: nn.Module) -> dict[str, tuple[str, ...]]:
    found = find_adapters(model)
    return {} if found is None else found.active()
