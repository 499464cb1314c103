"""One module of a model: the layers that its parameters make, or why they do not."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from rgo_core import Axes, check_axes_fit
from rgo_torch.layers.known_kinds import Kind
from rgo_torch.layers.layer import Layer
from rgo_torch.layers.multiplied import (
    added_names,
    calls_one_of,
    multiplied_axes,
    read_channels,
)
from rgo_torch.layers.skipped import ASKED, FROZEN, Overrides, Skipped
from rgo_torch.layers.transformed import TransformedLayer
from rgo_torch.modules.complex_parts import real_axes
from rgo_torch.modules.wrappers import check_whole, full_name

# What has no forward: the module that holds it uses its parameters.
LISTS = (nn.ParameterList, nn.ParameterDict)

# What the hooks of older forms have a weight computed from ends in.
ORIGINAL = ("_orig", "_v")


class ModuleLayers(NamedTuple):
    """A module, and what the table knows of it: what makes its layers."""

    name: str
    module: nn.Module
    kind: tuple[type[nn.Module], Kind] | None
    frozen: set[str]  # which of the model's parameters adapters stand beside

    def layers(self, overrides: Overrides) -> tuple[list[Layer], list[Skipped]]:
        """Return the layers of the module: what it is known for, and what is left."""
        own = self.parameters()
        reasons = self.reasons(own, overrides)
        asked = {
            key: axes
            for key in own
            if (axes := overrides.get(full_name(self.name, key))) is not None
        }
        is_complex = any(p.is_complex() for p in own.values())
        fast = None if asked or reasons or is_complex else self.fast_layer(own)
        told = self.told_axes(own) | asked
        rest = {
            key: told.get(key) or _entries(p)
            for key, p in own.items()
            if key not in reasons and (fast is None or key not in fast.axes)
        }
        for key, axes in rest.items():
            check_axes_fit(full_name(self.name, key), axes, tuple(own[key].shape))
            rest[key] = real_axes(axes, own[key])
        layers = [] if fast is None else [fast]
        if rest:
            layers.append(self.slow_layer(rest, encoded=fast is None))
            kind: type = type(self.module)
            added = added_names(kind)
            layers[-1].untold = frozenset(
                key
                for key in rest
                if key not in told and key.split(".")[0] not in added
            )
        passed = [
            Skipped(full_name(self.name, key), why) for key, why in reasons.items()
        ]
        return layers, passed

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the module's own parameters, and those that it uses without a call."""
        owned = tuple(f"{part}." for part in owned_parts(self.module, self.kind))
        own = {
            key: p
            for key, p in self.module.named_parameters()
            if "." not in key or key.startswith(owned)
        }
        if own and isinstance(self.module, torch.jit.ScriptModule):
            raise ValueError(
                f"module {self.name!r}: expected a module of Python, got one of "
                "torch.jit, which takes no hooks: leave it unscripted, torch.compile it"
            )
        for key, p in own.items():
            check_whole(full_name(self.name, key), p)
            if isinstance(p, nn.parameter.UninitializedParameter):
                kind = type(self.module).__name__
                raise ValueError(
                    f"module {self.name!r} ({kind}) has no shape yet, its {key} is "
                    "lazy: call the model once before"
                )
        return own

    def reasons(
        self, own: Mapping[str, nn.Parameter], overrides: Overrides
    ) -> dict[str, str]:
        """Return why parameters of the module are not protected."""
        kind = type(self.module).__name__
        names = {key: full_name(self.name, key) for key in own}
        frozen = dict.fromkeys((k for k in own if names[k] in self.frozen), FROZEN)
        if len(frozen) == len(own):
            return frozen
        whole = {
            p.dtype
            for p in own.values()
            if not (p.is_floating_point() or p.is_complex())
        }
        if whole:
            return dict.fromkeys(own, f"of {kind} with parameters of {whole.pop()}")
        if _computes_weights(self.module):
            return dict.fromkeys(own, f"of {kind} whose weights are computed")
        empty = {key: "has no entries" for key, p in own.items() if not p.numel()}
        return (
            frozen
            | empty
            | {key: ASKED for key in own if overrides.get(names[key], ...) is None}
        )

    def fast_layer(self, own: Mapping[str, nn.Parameter]) -> Layer | None:
        """Return the layer with the fast path, where the class is what it is known for.

        A subclass with a forward of its own is not, unless it is one around what the
        class does; nor is one that computes a weight from other parameters.
        """
        if self.kind is None or not own:
            return None
        known, kind = self.kind
        has_own = type(self.module).forward is not known.forward
        kinds: tuple[type, type] = (type(self.module), known)
        if has_own and not calls_one_of(*kinds, kind.functions):
            return None
        computed = [key for key in kind.axes(self.module) if key not in own]
        if any(getattr(self.module, key, None) is not None for key in computed):
            return None
        make = kind.around if has_own else kind.layer
        return None if make is None else make(self.name, self.module, known)

    def slow_layer(self, axes: Mapping[str, Axes], *, encoded: bool) -> Layer:
        """Return the layer whose vectors come from calling the module again."""
        kind = None if self.kind is None else self.kind[1]
        find = None if kind is None or not encoded else kind.channels
        layer = TransformedLayer(
            self.name,
            self.module,
            axes,
            channels=None if find is None else find(self.module),
            sample_axis=0 if kind is None else kind.sample_axis,
        )
        if kind is None and self.name:  # what the whole model gives out stays in order
            own = self.parameters()
            named = {**_computed(self.module, own), **own}
            layer.channels = read_channels(self.module, named)
            layer.reads_channels = True
        return layer

    def told_axes(self, own: Mapping[str, nn.Parameter]) -> dict[str, Axes]:
        """Return the axes of the parameters whose kind, or whose source, tells them.

        Of others it is told that each entry acts by itself, as far as RGO knows. What a
        weight is computed from (by a parametrization, pruning or weight normalisation)
        and has its shape has its axes.
        """
        nearest = nn.Module if self.kind is None else self.kind[0]
        computed = _computed(self.module, own)
        known = multiplied_axes(self.module, {**computed, **own}, nearest)
        if self.kind is not None:
            named = self.kind[1].axes(self.module)
            self._check_named(named, own)
            known |= named
        found = {}
        for key, p in own.items():
            alike = [
                axes
                for name, axes in known.items()
                if name not in own
                and _shape_of(self.module, name) == p.shape
                and (name not in computed or _makes(key, name))
            ]
            if key in known or alike:
                found[key] = known.get(key) or alike[0]
        return found

    def _check_named(
        self, named: Mapping[str, Axes], own: Mapping[str, nn.Parameter]
    ) -> None:
        there = (getattr(self.module, name, None) is not None for name in named)
        if named and not any(name in own for name in named) and not any(there):
            raise ValueError(
                f"module {self.name!r}: the layout of {type(self.module).__name__} "
                f"names {list(named)}, expected some of its parameters {list(own)}"
            )


def _computes_weights(module: nn.Module) -> bool:
    """Tell of a recurrent network whose fused weights are not parameters."""
    return isinstance(module, nn.RNNBase) and (
        is_parametrized(module)
        or not all(
            isinstance(weight, nn.Parameter)
            for weights in module.all_weights
            for weight in weights
        )
    )


def _entries(parameter: nn.Parameter) -> Axes:
    return Axes(inputs=tuple(range(parameter.ndim)), diagonal=True)


def _makes(key: str, name: str) -> bool:
    """Tell by its name of a parameter that an attribute is computed from."""
    of_hook = {f"{name}{suffix}" for suffix in ORIGINAL}
    return key.startswith(f"parametrizations.{name}.") or key in of_hook


def _computed(module: nn.Module, own: Iterable[str]) -> dict[str, Tensor]:
    """Return what is computed from parameters, and called otherwise than they are.

    By a parametrization, or by a hook, as that of pruning, from ``name_orig``.
    """
    parts = [key.split(".") for key in own]
    named = {part[1] for part in parts if part[0] == "parametrizations"}
    named |= {key[: -len(s)] for key in own for s in ORIGINAL if key.endswith(s)}
    found = {name: getattr(module, name, None) for name in named - {*own, ""}}
    return {name: each for name, each in found.items() if isinstance(each, Tensor)}


def _shape_of(module: nn.Module, name: str) -> tuple[int, ...] | None:
    shape: tuple[int, ...] | None = getattr(getattr(module, name, None), "shape", None)
    return shape


def owned_parts(
    module: nn.Module, kind: tuple[type[nn.Module], Kind] | None
) -> tuple[str, ...]:
    """Return the submodules whose parameters count as the module's own."""
    owns = () if kind is None else kind[1].owns
    lists = (n for n, child in module.named_children() if isinstance(child, LISTS))
    owns = (*owns, *lists)
    return (*owns, "parametrizations") if is_parametrized(module) else owns
