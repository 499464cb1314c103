"""Adapters beside layers that take in the same features, with one second moment.

Queries, keys and values of one attention take in the same x, and so do the two layers
at the entrance of a gated MLP. If their A (r x n) are encoded by one permutation, they
are one matrix of 3 r outputs, whose second moment is the sum of theirs: n^2 numbers in
place of 3 n^2, and one inverse in place of three.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from rgo_torch.adapters.lora import find_adapters
from rgo_torch.layers.layer import Layer
from rgo_torch.observation.calls import Calls
from rgo_torch.parameters.parameter import ProjectedParameter

Groups = Iterable[Iterable[str]]


def as_groups(groups: Groups | None) -> list[tuple[str, ...]] | None:
    """Return groups of names as a list, checked.

    Raises
    ------
    TypeError
        If they are a string, or a group is one.
    ValueError
        If a group has fewer than two names.
    """
    if groups is None:
        return None
    found = [groups] if isinstance(groups, str) else list(groups)
    if any(isinstance(group, str) for group in found):
        raise TypeError(
            "shared_inputs must be groups of names, as in "
            f"[('q_proj', 'k_proj', 'v_proj')], got {groups!r}"
        )
    named = [tuple(group) for group in found]
    for group in named:
        if len(group) < 2:
            raise ValueError(
                f"shared_inputs: a group must have at least two names, got {group}"
            )
    return named


def shared_layers(
    model: nn.Module, layers: Iterable[Layer], groups: Groups | None
) -> dict[str, str]:
    """Return whose second moment a layer shares, by names.

    Parameters
    ----------
    model : nn.Module
    layers : iterable of Layer
        Of the model's layout: those that are trained.
    groups : iterable of iterable of str, or None
        Names of layers with LoRA that take in the same features, each the whole name or
        the end of it after a dot: members of one group that differ in no more than that
        end belong together.

    Returns
    -------
    dict of str to str
        For each A but the first of those that belong together, the name of the first.

    Raises
    ------
    TypeError, ValueError
        As `as_groups` does.
    ValueError
        If a group finds no two LoRA layers that belong together, a layer is in two
        groups, or some that belong together have A of different numbers of inputs.
    """
    if groups is None:
        return {}
    adapters = find_adapters(model)
    lora = {} if adapters is None else adapters.lora
    trained = {layer.name: layer for layer in layers}
    keepers: dict[str, str] = {}
    seen: set[str] = set()
    for ends in as_groups(groups) or ():
        found = [own for own in _together(lora, trained, ends) if len(own) > 1]
        if not found:
            raise ValueError(
                f"shared_inputs: expected layers with LoRA that end in {list(ends)} "
                "and stand in one module, got no two of them that are trained"
            )
        for own in found:
            _check_alike(own)
            first, *others = (layer.name for layer in own)
            twice = sorted(seen.intersection((first, *others)))
            if twice:
                raise ValueError(f"shared_inputs: {twice[0]} is in two groups")
            seen.update((first, *others))
            keepers.update(dict.fromkeys(others, first))
    return keepers


def shared_parameters(
    parameters: Mapping[str, ProjectedParameter], layers: Mapping[str, str]
) -> dict[str, str]:
    """Return whose second moment a parameter shares, for layers that share one."""
    return {
        name: f"{layers[layer.name]}.{own}"
        for name, parameter in parameters.items()
        for layer, own in parameter.uses
        if layer.name in layers
    }


def check_same_inputs(calls: Calls, shared: Mapping[str, str]) -> None:
    """Check that layers with one second moment were given the same features.

    Parameters
    ----------
    calls : mapping of Layer to list of Call
        Of one batch.
    shared : mapping of str to str
        What `shared_layers` returned.

    Raises
    ------
    ValueError
        If they were not.
    """
    named = {layer.name: layer for layer in calls}
    for member, keeper in shared.items():
        one, other = (calls[named[name]] for name in (keeper, member))
        same = len(one) == len(other) and all(
            torch.equal(a.inputs, b.inputs) for a, b in zip(one, other, strict=True)
        )
        if not same:
            raise ValueError(
                f"shared_inputs: expected {member} to take in what {keeper} does, got "
                "other features: they cannot share a second moment"
            )


def _together(
    lora: Iterable[str], trained: Mapping[str, Layer], ends: Sequence[str]
) -> list[list[Layer]]:
    """Return the A of one adapter in one module, for each of both."""
    found: dict[tuple[str, str], list[Layer]] = {}
    for end in ends:
        for name in lora:
            if name != end and not name.endswith(f".{end}"):
                continue
            before = f"{name}.lora_A."
            for layer in trained.values():
                if layer.name.startswith(before):
                    place = name.removesuffix(end), layer.name.removeprefix(before)
                    found.setdefault(place, []).append(layer)
    return list(found.values())


def _check_alike(layers: Sequence[Layer]) -> None:
    widths = {layer.name: layer.takes for layer in layers}
    if len({layer.takes for layer in layers}) > 1:
        raise ValueError(
            "shared_inputs: expected layers with as many inputs, got "
            f"{ {name: at and at.width for name, at in widths.items()} }"
        )
