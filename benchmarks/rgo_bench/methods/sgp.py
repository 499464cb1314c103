"""SGP: gradients scaled down as far as earlier tasks' inputs matter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rgo_bench.methods.gpm import GPM, GPMOptions
from rgo_bench.methods.method import Setting
from rgo_bench.streams.options import Positive


@dataclass(frozen=True, kw_only=True)
class SGPOptions(GPMOptions):
    """The options of `SGP`."""

    scale: Positive = 10.0  # alpha, the default of the authors' programs


class SGP(GPM):
    """Scaled Gradient Projection (Saha and Roy, AAAI 2023).

    GPM's basis M, each of whose directions has an importance: a gradient becomes ``G -
    M diag(lambda) M^T G``. A task whose representations R have the length s_i along
    direction i, ``s_i = |m_i^T R|``, adds ``(alpha + 1) s_i / (alpha s_i + max s)`` to
    its importance, up to 1.

    References
    ----------
    Saha and Roy, "Continual Learning with Scaled Gradient Projection", AAAI 2023,
    equations 2 to 6.
    """

    options: SGPOptions
    kept = (*GPM.kept, "importances")

    def __init__(self, setting: Setting, options: SGPOptions) -> None:
        super().__init__(setting, options)
        self.importances: dict[str, Tensor] = {}  # lambda (k,) by layer

    def take_in(self, name: str, columns: Tensor) -> None:
        """Extend the basis as GPM does, and add to the importances."""
        before = self.importances.get(name, columns.new_zeros(0))
        super().take_in(name, columns)
        along = (self.bases[name].T @ columns).norm(dim=1)
        new = scaled_importance(along, self.options.scale)
        new[: len(before)] += before
        self.importances[name] = new.clamp(max=1)

    def protected(self, name: str) -> Tensor:
        """Return ``M diag(lambda) M^T``: what gradients of a layer lose."""
        M = self.bases[name]
        return (M * self.importances[name]) @ M.T


def scaled_importance(lengths: Tensor, scale: float) -> Tensor:
    """Return ``(alpha + 1) s / (alpha s + max s)``: 1 for the longest, 0 for nothing.

    Parameters
    ----------
    lengths : Tensor (k,)
        s, not negative.
    scale : float
        alpha: the larger, the more count as much as the longest.

    Returns
    -------
    Tensor (k,)
        0 where all lengths are 0.
    """
    if not len(lengths):
        return lengths
    most = lengths.max().clamp(min=torch.finfo(lengths.dtype).tiny)
    return (scale + 1) * lengths / (scale * lengths + most)
