"""What of a model is at risk though all of its parameters are protected."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from rgo_core._checks import few_names
from rgo_core._names import may_multiply
from rgo_core._written import written_axes
from rgo_torch.layers.layer import Layer
from rgo_torch.layers.places import CONVOLUTIONS
from rgo_torch.layers.skipped import ASKED, Skipped
from rgo_torch.modules.wrappers import named_modules, named_parameters, pretrained_from
from rgo_torch.parameters.parameter import ProjectedParameter
from rgo_torch.statistics import Statistics

# What people call the way around a residual block.
SHORTCUTS = frozenset({"downsample", "shortcut", "skip", "identity_conv", "proj_skip"})


def permuted_pretraining(model: nn.Module) -> str | None:
    """Return advice on a model whose own features should stay in order.

    Parameters
    ----------
    model : nn.Module
        One that is encoded, and not in adapters alone.
    """
    source = pretrained_from(model)
    if source is None:
        return None
    return (
        f"the model was pretrained ({source}), and from the second task on its "
        "features are permuted, which breaks what it knows: fine-tune adapters, inside "
        "of which RGO encodes, or pass encode=False. Where its weights were drawn "
        "anew, as from_config does, nothing is broken"
    )


def encoded_shortcuts(model: nn.Module, encoded: Iterable[str]) -> str | None:
    """Return advice on convolutions that lead around a block and are permuted.

    Parameters
    ----------
    model : nn.Module
    encoded : iterable of str
        The names of the layers whose outputs are permuted.
    """
    modules = dict(named_modules(model))
    found = [
        name
        for name in encoded
        if isinstance(modules.get(name), CONVOLUTIONS)
        and SHORTCUTS.intersection(name.split("."))
    ]
    if not found:
        return None
    return (
        f"{', '.join(found)}: judging by its name, a shortcut around a residual block, "
        "whose channels the paper's networks leave in order and this encoding "
        "permutes; to leave them too, name it, and the head, in unencoded="
    )


def kept_by_entry(layers: Iterable[Layer]) -> str | None:
    """Return advice on matrices of one's own whose inputs and outputs nothing tells.

    Parameters
    ----------
    layers : iterable of Layer
    """
    found = {
        layer.full_name(own): p.ndim
        for layer in layers
        for own in sorted(layer.untold)
        if (p := layer.parameter(own)) is not None
        and p.requires_grad
        and may_multiply(own, tuple(p.shape))
    }
    if not found:
        return None
    first = next(iter(found))
    multiplied, by_entry = written_axes(found[first])
    names = few_names(list(found))
    return (
        f"{names}: kept entry by entry, for the source of its class does not show a "
        "product that tells inputs from outputs: that protects little of a matrix that "
        "multiplies, and its outputs are not encoded. Write x @ self.matrix or "
        "F.linear(x, self.matrix) in the class itself, or give layout={"
        f"{first!r}: {multiplied}}} for x @ w; {by_entry} where entry by entry is "
        "meant"
    )


def rounded_weights(parameters: Mapping[str, torch.Tensor]) -> str | None:
    """Return advice on weights that are trained in half precision.

    Parameters
    ----------
    parameters : mapping of str to Tensor
        What optimizers step.
    """
    dtypes = {
        name: str(p.dtype).removeprefix("torch.")
        for name, p in parameters.items()
        if p.requires_grad and p.dtype in (torch.bfloat16, torch.float16)
    }
    if not dtypes:
        return None
    return (
        f"{few_names(list(dtypes))}: trained in {next(iter(dtypes.values()))}, where "
        "each step is also rounded along directions that earlier tasks have closed; "
        "the smaller the steps, the larger the part of what is learned that lies "
        "there. Keep the weights in float32, and compute under torch.autocast"
    )


def large_states(parameters: Mapping[str, ProjectedParameter]) -> str | None:
    """Return advice on parameters whose second moment is a matrix of a gigabyte.

    Parameters
    ----------
    parameters : mapping of str to ProjectedParameter
    """
    sizes = {name: each.state_bytes for name, each in parameters.items()}
    found = [name for name, size in sizes.items() if size > 2**30]
    if not found:
        return None
    largest = max(found, key=sizes.__getitem__)
    n = parameters[largest].features
    return (
        f"{few_names(found)}: more than a GiB of state each, {largest} "
        f"{sizes[largest] / 2**30:.1f} GiB for matrices of {n} x {n}, which also take "
        "long to invert; max_features= bounds them, of weights and of biases, by a "
        "sketch"
    )


def nothing_encoded(widths: Mapping[str, int], layers: Iterable[Layer]) -> str | None:
    """Return advice where the outputs of no layer are permuted.

    Parameters
    ----------
    widths : mapping of str to int
        Of what is encoded.
    layers : iterable of Layer
    """
    matrices = sum(bool(axes.outputs) for x in layers for axes in x.axes.values())
    if widths or matrices < 2:
        return None
    return (
        "nothing is encoded, for no layer is known to have outputs that may be "
        "permuted, so that tasks disturb each other more: place "
        "FeatureEncoding(width) where features are, or say encode=False"
    )


def left_plain(model: nn.Module, skipped: Iterable[Skipped]) -> str | None:
    """Return advice on parameters that are trained, and not protected.

    Parameters
    ----------
    model : nn.Module
    skipped : iterable of Skipped
        Those that are asked for are no news.
    """
    trained = {n for n, p in named_parameters(model) if p.requires_grad and p.numel()}
    found = [each for each in skipped if each.name in trained and each.reason != ASKED]
    if not found:
        return None
    return (
        f"{', '.join(each.name for each in found)}: trained and not protected, "
        f"{'; '.join(sorted({each.reason for each in found}))}: what they learn of a "
        "task the next ones overwrite; freeze them"
    )


def drifting_statistics(
    modules: Mapping[str, nn.Module], statistics: Statistics
) -> str | None:
    """Return advice on normalisations whose statistics go on with every task.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        Those with running statistics, by name.
    statistics : {"per-task", "frozen", "running"}
    """
    if statistics != "running" or not modules:
        return None
    return (
        f"{', '.join(modules)}: running statistics that every task moves, which no "
        "projection protects; statistics='per-task' keeps them for each task"
    )
