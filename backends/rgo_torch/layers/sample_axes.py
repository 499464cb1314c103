"""Along which axis of a module's tensors its samples lie."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from rgo_core._checks import few_names
from rgo_torch.layers.layer import Layer, Vectors
from rgo_torch.modules.complex_parts import real_view
from rgo_torch.modules.warning import warn_caller

SECOND = 1  # where time comes first

Axes = list[int | None]  # of the leaves of a batch


def is_time_first(shape: tuple[int, ...], axis: int, wanted: Vectors) -> bool:
    """Whether samples are along the second axis, where the first was expected to.

    Not where the first has several entries a sample, such as windows of an image.
    """
    first, *others = shape
    alike = axis == 0 and len(others) > 1 and others[0] == wanted.samples
    return alike and first > 1 and first % wanted.samples != 0


def axis_of_length(leaf: Any, axis: int, length: int) -> int | None:
    """Return the axis, where the leaf is a tensor with that length along it."""
    fits = isinstance(leaf, Tensor) and leaf.ndim > axis and leaf.shape[axis] == length
    return axis if fits else None


def over_samples(
    function: Callable[..., dict[str, Tensor]],
    batches: Sequence[list[Any]],
    axes: Sequence[Axes],
    size: int,
) -> dict[str, Tensor]:
    """Return what a function of batches gives for batches of each sample, stacked.

    Parameters
    ----------
    function : callable
        Of as many lists of leaves as there are in `batches`.
    batches : sequence of list
    axes : sequence
        Which axis of each leaf has the samples; None: all share it.
    size : int
        How many samples are held at one time.
    """

    def one(*batches: list[Any]) -> dict[str, Tensor]:
        # With the axis that vmap took away.
        return function(
            *(
                [
                    leaf if axis is None else leaf.unsqueeze(axis)
                    for leaf, axis in zip(leaves, own, strict=True)
                ]
                for leaves, own in zip(batches, axes, strict=True)
            )
        )

    mapped = vmap(one, in_dims=tuple(axes), randomness="same", chunk_size=size)
    # The fused attentions have no rule for batches of batches, and tell so.
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        return dict(mapped(*batches))


class OfAllSamplesError(Exception):
    """An output is of all samples, though what looked like theirs was cut up.

    As of graphs whose nodes stand in one tensor: of a batch labels alone are one each.
    """


def padded(tensor: Tensor) -> Tensor:
    """Return a nested tensor padded, by what adds nothing; any other as it is."""
    return tensor.to_padded_tensor(0.0) if tensor.is_nested else tensor


def product_along(output: Tensor, gradient: Tensor) -> Tensor:
    """Return the product of an output and what reaches it, which are as long."""
    output = padded(output)
    if output.shape != gradient.shape:
        raise OfAllSamplesError(
            f"a layer that is called again gives an output of shape "
            f"{tuple(output.shape)}, where what reaches it is {tuple(gradient.shape)}"
        )
    return (real_view(output) * real_view(gradient)).sum()


def over_outputs(
    function: Callable[[list[Any]], dict[str, Tensor]],
    gradients: list[Tensor | None],
    axes: Axes,
    size: int,
) -> dict[str, Tensor]:
    """Return what a function gives for what reaches each sample's outputs, stacked.

    Slower than `over_samples`: for each the function goes through all samples.
    """
    along = [(g, a) for g, a in zip(gradients, axes, strict=True) if g is not None]
    first, axis = along[0]
    count = first.shape[axis or 0]

    def one(units: list[Any]) -> dict[str, Tensor]:
        unit = units[0].flatten()  # zero for all samples but one
        return function(
            [
                None
                if g is None
                else (g.movedim(a or 0, -1) * unit).movedim(-1, a or 0)
                for g, a in zip(gradients, axes, strict=True)
            ]
        )

    units = torch.eye(count, dtype=first.dtype, device=first.device)
    # Each holds as much as all samples do.
    return over_samples(one, ([units],), ([0],), max(1, size // count))


def warn_of_miscounted(layers: Iterable[Layer]) -> None:
    """Warn once of all layers whose inputs had other entries than the batch samples."""
    found = {layer: layer.miscounted for layer in layers if layer.miscounted}
    if not found:
        return
    names = few_names([layer.name or "the model" for layer in found])
    entries, samples = zip(*found.values(), strict=True)
    warn_caller(
        f"{names}: the samples are not along the first axis of the inputs, which has "
        f"{_span(entries)} entries where the batch has {_span(samples)} samples: each "
        "entry, or each position of one, counts as a sample. Put the samples first "
        "where time comes first; where entries are tokens that are routed, as to "
        "experts, sequences that are joined, the choices of a question or calls on "
        "other samples, pass per='position', which says that it is meant"
    )


def warn_of_summed(layers: Iterable[Layer]) -> None:
    """Warn once of all layers that have had one vector for a whole batch."""
    names = {layer.name or "the model": None for layer in layers if layer.sums_samples}
    if names:
        warn_caller(
            f"{few_names(list(names))}: one curvature vector for each batch, for what "
            "comes in is one for all samples, as where weights are made for a task or "
            "a sample comes without the axis of a batch, or "
            "the forward does not run on a sample by itself under torch.func.vmap, as "
            "where it looks at values, or calls an nn.GRU or nn.RNN. So many batches "
            "protect so many directions: give end_task small ones"
        )


def _span(counts: Iterable[int]) -> str:
    low, *others = sorted(set(counts))
    return f"{low} to {others[-1]}" if others else str(low)
