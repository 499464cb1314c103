"""GPM: gradients orthogonal to what earlier tasks feed into layers, and SGP."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rgo_bench.clock import Clock
from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting
from rgo_bench.methods.representations import input_rows, shared_layers, spread
from rgo_bench.methods.weight_projector import Biases, freeze_biases, project_weights
from rgo_bench.streams.options import Count, Part, Positive


@dataclass(frozen=True, kw_only=True)
class GPMOptions(MethodOptions):
    """The options of `GPM`."""

    representations: Count = 300  # of as many samples, taken after a task
    threshold_first: Part = 0.95  # of the first layer: how much of them to keep
    threshold: Part = 0.99  # of the other layers
    rise: float = 0.0  # of both thresholds, with every task
    biases: Biases = "frozen"

    def needed(self, *, first: bool, task: int) -> float:
        """Return the threshold of the first layer, or of another, after a task."""
        start = self.threshold_first if first else self.threshold
        return start + self.rise * task


@dataclass(frozen=True, kw_only=True)
class SGPOptions(GPMOptions):
    """The options of `SGP`."""

    scale: Positive = 10.0  # alpha, the default of the authors' programs


class GPM(NetworkMethod):
    """Gradient Projection Memory (Saha, Garg and Roy, ICLR 2021).

    After a task each layer's inputs are taken for some samples, as columns of R, and
    the leading left singular vectors of what R adds to the basis M so far join it,
    until ``|M M^T R|^2 >= threshold |R|^2``. Later gradients lose their part in M:
    ``G - M M^T G`` with G as n x m. Where every task has outputs of its own, the head
    is left alone, as the paper's authors leave the heads of split streams: no other
    task's gradient reaches them.

    The samples lie at even distances in the task's data; the paper draws them. The
    paper's MLP has no biases: ours has, and they stay as they start, for a
    trained bias moves every task (``biases="free"`` trains them).

    References
    ----------
    Saha, Garg and Roy, "Gradient Projection Memory for Continual Learning", ICLR 2021,
    equations 5 to 9.
    """

    options: GPMOptions
    kept = (*NetworkMethod.kept, "bases")

    def __init__(self, setting: Setting, options: GPMOptions) -> None:
        super().__init__(setting, options)
        self.layers = shared_layers(self.network, setting, "gpm")
        self.bases: dict[str, Tensor] = {}  # M (n, k) by layer, in float64
        self.matrices = project_weights(self.network, self.layers)
        if options.biases == "frozen":
            freeze_biases(self.layers)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Add what the task's representations need to the bases."""
        with clock.phase("consolidate"):
            chosen = spread(x, self.options.representations)
            rows = input_rows(self.network, self.layers, chosen)
            for layer in self.layers:
                self.take_in(layer.name, rows[layer.name].double().T)
            self.restored()

    def take_in(self, name: str, columns: Tensor) -> None:
        """Let a layer's basis hold enough of representations, a column each."""
        basis = self.bases.get(name, columns[:, :0])
        first = name == self.layers[0].name
        threshold = self.options.needed(first=first, task=self.current)
        self.bases[name] = extended(basis, columns, threshold)

    def protected(self, name: str) -> Tensor:
        """Return the matrix (n, n) of what gradients of a layer lose: ``M M^T``."""
        M = self.bases[name]
        return M @ M.T

    def restored(self) -> None:
        """Project with the bases."""
        for layer in self.layers:
            if layer.name in self.bases:
                lost = self.protected(layer.name)
                identity = torch.eye(len(lost), dtype=lost.dtype, device=lost.device)
                self.matrices[layer.name] = (identity - lost).to(layer.weight.dtype)


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

    The larger `scale`, alpha, the more lengths s count as much as the longest.
    """
    if not len(lengths):
        return lengths
    most = lengths.max().clamp(min=torch.finfo(lengths.dtype).tiny)
    return (scale + 1) * lengths / (scale * lengths + most)


def extended(basis: Tensor, columns: Tensor, threshold: float) -> Tensor:
    """Extend M (n, k) until ``|M M^T R|^2 >= threshold |R|^2``, R the columns (n, r).

    M has orthonormal columns, before and after; k may be 0. At a threshold of 1 and
    above its span holds all of R.

    The singular vectors are those of the smaller Gram matrix, of n or r rows: many
    times faster than an SVD of R where a convolution makes many patches. Squaring
    leaves of the singular values what is above 1e-7 of the largest or so: directions
    below it, 1e-14 of the square that the threshold speaks of, are not told from
    rounding, and do not join even where all of R is asked for.

    References
    ----------
    Saha, Garg and Roy (2021), equations 5 and 9.
    """
    residual = columns - basis @ (basis.T @ columns)
    directions, energies = leading_directions(residual)
    needed = threshold * columns.square().sum()
    captured = columns.square().sum() - residual.square().sum()
    held = torch.cat([captured[None], captured + energies.cumsum(0)])
    # What is left of a column inside the basis is rounding: no direction.
    rounding = torch.finfo(columns.dtype).eps * sum(columns.shape) * columns.norm()
    count = min(int((held < needed).sum()), int((energies > rounding**2).sum()))
    joined = torch.cat([basis, directions[:, :count]], dim=1)[:, : len(basis)]
    # Orthonormal to rounding, however small the energies were.
    orthonormal: Tensor = torch.linalg.qr(joined).Q
    return orthonormal


def leading_directions(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return left singular vectors, and squared singular values, the largest first.

    As many as the rank is, as far as the Gram matrix of columns in float64 tells it.
    """
    n, r = columns.shape
    gram = columns @ columns.T if n <= r else columns.T @ columns
    energies, vectors = torch.linalg.eigh(gram)
    energies, vectors = energies.flip(0), vectors.flip(1)
    rounding = torch.finfo(gram.dtype).eps * max(n, r) * energies[:1].sum()
    rank = int((energies > rounding).sum())
    energies, vectors = energies[:rank], vectors[:, :rank]
    if n > r:
        vectors = columns @ vectors / energies.sqrt()
    return vectors, energies
