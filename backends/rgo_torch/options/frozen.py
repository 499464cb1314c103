"""What of a model is at risk where a part of it is frozen and encoded."""

import itertools
from collections.abc import Collection, Iterable

import torch
from torch import nn

from rgo_core._checks import few_names
from rgo_torch.modules.torch_private import own_parameters
from rgo_torch.modules.wrappers import named_modules, pretrained_from
from rgo_torch.projecting.projector import GradientProjector


def frozen_parts(
    model: nn.Module, encoded: Collection[str], projector: GradientProjector
) -> str | None:
    """Return advice on what is frozen in a model: copies, or features of its own.

    Parameters
    ----------
    model : nn.Module
    encoded : collection of str
        The names of the layers whose outputs are permuted.
    projector : GradientProjector
        Which knows the layers, and what optimizers hold.
    """
    takes = [layer.name for layer in projector.layers if layer.takes is not None]
    return frozen_copies(model, encoded) or frozen_features(
        model, encoded, takes, projector.stepping.unheld()
    )


def frozen_features(
    model: nn.Module,
    encoded: Collection[str],
    takes: Collection[str],
    unheld: Collection[int],
) -> str | None:
    """Return advice on frozen layers that are given others' features permuted.

    What is trained can learn a new order, what is frozen cannot. A layer is taken to
    feed the next one of the model that has parameters.

    Parameters
    ----------
    model : nn.Module
    encoded : collection of str
        The names of the layers whose outputs are permuted.
    takes : collection of str
        Those of the layers of which is known what channels they take in.
    unheld : collection of int
        The identities of parameters that no optimizer holds: frozen too.
    """
    if pretrained_from(model) is not None:
        return None  # `permuted_pretraining` tells of it
    own = {
        name: [p for p in own_parameters(module).values() if p is not None]
        for name, module in named_modules(model)
    }
    layers = [
        (name, not any(p.requires_grad and id(p) not in unheld for p in parameters))
        for name, parameters in own.items()
        if parameters
    ]
    found = [
        name
        for (name, is_frozen), (_, is_next) in itertools.pairwise(layers)
        if name in encoded and is_frozen and is_next
    ]
    if not found:
        return None
    last = max(i for i, (_, is_frozen) in enumerate(layers) if is_frozen)
    after = next((name for name, _ in layers[last + 1 :] if name in takes), None)
    instead = "" if after is None else f"what is trained takes in, encode=[{after!r}]; "
    return (
        f"{few_names(found)}: frozen, or held by no optimizer, and from the second "
        "task on what they give out is permuted before other such layers take it in, "
        "which cannot learn the new order: tasks are learned badly then, unless "
        f"what is frozen is random. Encode {instead or 'elsewhere, '}"
        "or leave them in order, by naming them and the head in unencoded=, or by "
        "encode=False"
    )


def frozen_copies(model: nn.Module, encoded: Iterable[str]) -> str | None:
    """Return advice on a network beside its copy: a target, a teacher, an average.

    Parameters
    ----------
    model : nn.Module
    encoded : iterable of str
        The names of the layers whose outputs are permuted.
    """
    modules = dict(named_modules(model))
    weights = {
        name: weight
        for name in encoded
        if name in modules
        and (weight := own_parameters(modules[name]).get("weight")) is not None
        and weight.ndim > 1
        and not hasattr(weight, "to_local")  # the others have the rest of it
        and not weight.is_meta
    }
    trained = {name: w for name, w in weights.items() if w.requires_grad}
    found = [
        f"{name} of {other}"
        for name in weights.keys() - trained.keys()
        for other, weight in trained.items()
        if (weight.shape, weight.dtype, weight.device)
        == (weights[name].shape, weights[name].dtype, weights[name].device)
        and torch.equal(weight, weights[name])
        and bool((weight != weight.flatten()[0]).any())  # not both as zeros
    ]
    if not found:
        return None
    return (
        f"{few_names(sorted(found))}: a frozen copy, which is encoded by itself, so "
        "that from the second task on it is another function than what it was copied "
        "from. Give RGO the model without it, and copy that after attaching; or place "
        "FeatureEncoding(width, name=...) of one name in both"
    )
