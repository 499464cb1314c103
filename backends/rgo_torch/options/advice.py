"""What of a model is at risk though all of its parameters are protected."""

from collections.abc import Iterable, Mapping

from torch import nn

from rgo_torch.places import CONVOLUTIONS
from rgo_torch.skipped import ASKED, Skipped
from rgo_torch.statistics import Statistics
from rgo_torch.wrappers import named_modules, named_parameters, pretrained_from

# What people call the way around a residual block.
SHORTCUTS = frozenset({"downsample", "shortcut", "skip", "identity_conv", "proj_skip"})


def permuted_pretraining(model: nn.Module) -> list[str]:
    """Return advice on a model whose own features should stay in order.

    Parameters
    ----------
    model : nn.Module
        One that is encoded, and not in adapters alone.
    """
    source = pretrained_from(model)
    if source is None:
        return []
    return [
        f"the model was pretrained ({source}), and from the second task on its "
        "features are permuted, which breaks what it knows: fine-tune adapters, inside "
        "of which RGO encodes, or pass encode=False"
    ]


def encoded_shortcuts(model: nn.Module, encoded: Iterable[str]) -> list[str]:
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
        return []
    return [
        f"{', '.join(found)}: by the name a shortcut around a residual block, whose "
        "channels the paper's networks leave in order and this encoding permutes; to "
        "leave them too, name it, and the head, in unencoded="
    ]


def left_plain(model: nn.Module, skipped: Iterable[Skipped]) -> list[str]:
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
        return []
    return [
        f"{', '.join(each.name for each in found)}: trained and not protected, "
        f"{'; '.join(sorted({each.reason for each in found}))}: what they learn of a "
        "task the next ones overwrite; freeze them"
    ]


def drifting_statistics(
    modules: Mapping[str, nn.Module], statistics: Statistics
) -> list[str]:
    """Return advice on normalisations whose statistics go on with every task.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        Those with running statistics, by name.
    statistics : {"per-task", "frozen", "running"}
    """
    if statistics != "running" or not modules:
        return []
    return [
        f"{', '.join(modules)}: running statistics that every task moves, which no "
        "projection protects; statistics='per-task' keeps them for each task"
    ]
