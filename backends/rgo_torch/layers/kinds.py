"""What RGO knows of classes of modules: the axes of their parameters, and a fast path.

One table, open to users by `register_layout`. A class that is not in it has parameters
that act entry by entry, as far as RGO can tell, or by which its code multiplies.
"""

from collections.abc import Mapping

from torch import nn

from rgo_core import Axes
from rgo_torch.layers.experts import experts_axes, holds_experts
from rgo_torch.layers.known_kinds import KNOWN, FindAxes, FindChannels, Kind, constant
from rgo_torch.layers.multiplied import multiplied_axes

KINDS: dict[type[nn.Module] | str, Kind] = dict(KNOWN)


def register_layout(
    kind: type[nn.Module] | str,
    parameters: Mapping[str, Axes] | FindAxes,
    *,
    channels: FindChannels | None = None,
    sample_axis: int = 0,
) -> None:
    """Tell RGO the layout of a class of modules, for all models from now on.

    Parameters
    ----------
    kind : type or str
        The class, or its full name, ``"package.module.Class"``, where it need not be
        imported. Subclasses are of its kind too.
    parameters : mapping of str to Axes, or callable
        By the names of the parameters in the module; names that a module does not have
        are passed over, unless it has none of them, and parameters not named act entry
        by entry. Or a function that returns such a mapping for a module, where it
        depends on the module's options.
    channels : callable, optional
        Returns, for a module, the `Channels` of its output (of its first output, where
        it returns several), which the feature encoding then permutes. None: what it
        returns stays in order.
    sample_axis : int
        Which axis of what it takes and returns holds the samples.

    Raises
    ------
    TypeError
        If `kind` is neither a class of modules nor a name, or a parameter's are no
        `Axes`.

    Notes
    -----
    Per-sample vectors come from `torch.func`: the module is called again for its
    samples, three to five times slower than the fast paths of Linear and Conv2d.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> class Mix(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.matrix = torch.nn.Parameter(torch.eye(3))
    ...     def forward(self, x):
    ...         return x @ self.matrix
    >>> rgo_torch.register_layout(
    ...     Mix,
    ...     {"matrix": rgo_torch.Axes(inputs=(0,), outputs=(1,))},
    ...     channels=lambda module: rgo_torch.Channels(3),
    ... )
    """
    if not isinstance(kind, str) and not (
        isinstance(kind, type) and issubclass(kind, nn.Module)
    ):
        raise TypeError(
            f"kind must be a class of nn.Module, or the full name of one, got {kind!r}"
        )
    if not callable(parameters):
        for name, given in parameters.items():
            if not isinstance(given, Axes):
                raise TypeError(f"{name}: expected Axes, got {given!r}")
    axes = parameters if callable(parameters) else constant(parameters)
    KINDS[kind] = Kind(axes, channels, sample_axis)


def find_kind(module: nn.Module) -> tuple[type[nn.Module], Kind] | None:
    """Return the nearest class of a module that the table has, and its kind."""
    for known in type(module).__mro__:
        for key in (known, f"{known.__module__}.{known.__qualname__}"):
            if key in KINDS:
                kind = KINDS[key]
                ours = kind is KNOWN.get(key)
                return (
                    None if ours and _is_turned(module, known, kind) else (known, kind)
                )
    if holds_experts(module):
        return type(module), Kind(experts_axes)
    return None


def _is_turned(module: nn.Module, known: type[nn.Module], kind: Kind) -> bool:
    """Whether a subclass multiplies by a matrix the other way round than its kind."""
    if type(module).forward is known.forward:
        return False
    own = dict(module.named_parameters(recurse=False))
    read = multiplied_axes(module, own, known)
    return any(
        axes == Axes(inputs=read[name].outputs, outputs=read[name].inputs)
        for name, axes in kind.axes(module).items()
        if name in read
    )
