"""Adapters beside a frozen model: what PEFT's LoRA is made of, and what RGO does there.

LoRA adds ``B A x`` to what a frozen layer returns, and starts as the zero function. So
what A takes in, what B takes in (the rank space) and what a new head takes in can be
permuted for every task without touching a feature that was pretrained.

PEFT is never imported here: a model that has its modules has imported it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from rgo_torch.layers.layer import Layer
from rgo_torch.layers.places import FoundPlace, found_place
from rgo_torch.modules.wrappers import named_modules, named_parameters

_LORA = "peft.tuners.lora.layer"
# Whose forward passes call lora_A and lora_B as modules of their own, or (Embedding)
# are called again for each sample.
_KNOWN = {f"{_LORA}.{n}" for n in ("Linear", "Embedding", "Conv1d", "Conv2d", "Conv3d")}
_LINEAR_DORA = "DoraLinearVariant"
# With these an adapter starts as the zero function, or its start does not matter.
_STARTS = (True, False, "gaussian", "eva")
_QUANTIZED = ("aqlm", "awq", "bnb", "eetq", "gptq", "hqq", "inc", "torchao", "te")


class Adapters(NamedTuple):
    """The LoRA layers of a model, and the modules that are trained beside them."""

    lora: dict[str, Any]
    saved: dict[str, Any]

    def active(self) -> dict[str, tuple[str, ...]]:
        """Return which adapters each module uses now."""
        both = self.lora | self.saved
        return {name: tuple(module.active_adapters) for name, module in both.items()}

    def places(self, model: nn.Module, layers: Iterable[Layer]) -> list[FoundPlace]:
        """Return the inputs of the trained layers inside of adapters, and of the heads.

        The head of a language model is left out: it was pretrained.
        """
        inside = tuple(
            f"{name}.{part}."
            for names, parts in (
                (self.lora, ("lora_A", "lora_B")),
                (self.saved, ("modules_to_save",)),
            )
            for name in names
            for part in parts
        )
        pretrained = tuple(_pretrained_heads(model, self.saved))
        return [
            found_place(layer, "input")
            for layer in layers
            if layer.takes is not None
            and "weight" in layer.axes
            and layer.name.startswith(inside)
            and not layer.name.startswith(pretrained)
        ]


def find_adapters(model: nn.Module) -> Adapters | None:
    """Return the adapters of a model, or None where it has none.

    Raises
    ------
    ValueError
        If it has other adapters of PEFT than LoRA, a kind of LoRA that RGO does not
        know, or merged ones.
    """
    found = Adapters({}, {})
    peft = False
    for name, module in named_modules(model):
        classes = _classes(module)
        if f"{_LORA}.LoraLayer" in classes:
            _check_lora(name, module)
            found.lora[name] = module
        elif "peft.utils.other.ModulesToSaveWrapper" in classes:
            found.saved[name] = module
        elif _OTHERS.intersection(classes):
            raise ValueError(
                f"{name}: expected LoRA, modules_to_save or biases to be trained by "
                f"PEFT, got a module of {_described(module)}"
            )
        peft |= "peft.peft_model.PeftModel" in classes
    if peft and not found.lora:
        raise ValueError(
            "expected a PeftModel with LoRA layers, got one without: RGO knows no "
            "other method of PEFT"
        )
    return found if found.lora else None


def frozen_beside_adapters(model: nn.Module) -> set[str]:
    """Return the frozen parameters of a model that has adapters; else none."""
    return set() if find_adapters(model) is None else frozen_parameters(model)


def frozen_parameters(model: nn.Module) -> set[str]:
    """Return the names of all parameters that are not trained."""
    return {name for name, p in named_parameters(model) if not p.requires_grad}


def check_starts_at_zero(model: nn.Module) -> None:
    """Raise unless a permutation inside of the adapters keeps what was pretrained.

    Raises
    ------
    ValueError
        If the adapters took over a part of the pretrained weights when they were made.
    """
    for _, module in named_modules(model):
        for name, config in _configurations(module).items():
            start = getattr(config, "init_lora_weights", True)
            if start not in _STARTS:
                raise ValueError(
                    f"adapter {name!r}: expected one that starts at zero, got "
                    f"init_lora_weights={start!r}, which moves pretrained weights into "
                    "the adapter, where an encoding would break them; use "
                    "init_lora_weights=True, or encode=False"
                )


_OTHERS = {
    "peft.tuners.tuners_utils.BaseTunerLayer",
    "peft.utils.other.AuxiliaryTrainingWrapper",
}


def _check_lora(name: str, module: Any) -> None:
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    if kind not in _KNOWN:
        quantized = type(module).__module__.rpartition(".")[2] in _QUANTIZED
        raise ValueError(
            f"{name}: expected a LoRA layer on a Linear, Conv1D, convolution or "
            f"Embedding{' that is not quantized' if quantized else ''}, got {kind}"
        )
    if module.merged:
        raise ValueError(
            f"{name}: expected adapters that are not merged, got "
            f"{module.merged_adapters} merged; call unmerge_adapter() before"
        )
    for adapter, variant in module.lora_variant.items():
        if type(variant).__name__ != _LINEAR_DORA:
            raise ValueError(
                f"{name}: expected plain LoRA, or DoRA of a Linear, got "
                f"{type(variant).__name__} in adapter {adapter!r}"
            )


def _pretrained_heads(model: nn.Module, saved: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of language models' heads among the modules that are saved."""
    heads = set()
    for _, module in named_modules(model):
        find = getattr(module, "get_output_embeddings", None)
        heads.add(id(find()) if callable(find) else None)
    for name, module in saved.items():
        if heads.intersection({id(module), id(module.original_module)}):
            yield f"{name}."


def _configurations(module: nn.Module) -> Mapping[str, Any]:
    found = getattr(module, "peft_config", None)
    return found if isinstance(found, dict) else {}


def _classes(module: nn.Module) -> set[str]:
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(module).__mro__}


def _described(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
