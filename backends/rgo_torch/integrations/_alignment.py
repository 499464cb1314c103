"""Which label the logits at a position are of: the one there, or the next one."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from rgo_torch.modules.warning import warn_caller
from rgo_torch.modules.wrappers import is_transformed
from rgo_torch.observation.pairs import IGNORED

# By a model's class: whether it shifts labels, and whether that is known.
Assumption = Callable[[nn.Module], tuple[bool, bool]]


@final
class Alignment:
    """Finds out from the first batch whether labels are shifted, and keeps to it.

    Parameters
    ----------
    shift : bool or None
        Given, or None: to be found out.
    assumed : callable
        ``assumed(model)`` tells what to take, and whether it is known, where the loss
        of the first batch does not tell.
    """

    def __init__(self, shift: bool | None, assumed: Assumption) -> None:
        self._shift, self._assumed = shift, assumed

    def align(
        self, model: nn.Module, logits: Tensor, labels: Tensor, loss: Any
    ) -> tuple[Tensor, Tensor]:
        """Return logits (b, ..., c) with labels (b, ...) of theirs.

        `loss` is what the model returned for these labels, if anything. What does not
        fit together is returned as it is, and decides nothing.

        Warns
        -----
        UserWarning
            If neither the loss nor the model's class tells which alignment is right.
        """
        if self._shift is None and may_be_aligned(logits, labels):
            self._shift = self._found(model, logits, labels, loss)
        return shifted(logits, labels) if self._shift else (logits, labels)

    def _found(
        self, model: nn.Module, logits: Tensor, labels: Tensor, loss: Any
    ) -> bool:
        if logits.ndim == 2:  # one label a sample: there is no next one
            return False
        found = shift_by_loss(logits, labels, loss)
        if found is not None:
            return found
        shift, is_known = self._assumed(model)
        if not is_known:
            position = "the next position" if shift else "their own position"
            warn_caller(
                f"{type(model).__name__}: logits are taken for those of the label at "
                f"{position}, which neither its loss for the first batch nor its class "
                f"tells; pass score=cross_entropy_score(shift={shift}) if that is "
                f"right, shift={not shift} if not"
            )
        return shift


def shift_by_loss(logits: Tensor, labels: Tensor, loss: Any) -> bool | None:
    """Return whether a model has shifted labels for the loss that it returned.

    It has where the mean cross-entropy of shifted labels is its loss.

    Parameters
    ----------
    logits : Tensor (b, ..., t, c)
    labels : Tensor (b, ..., t) of integers
        Or -100 for what the loss ignores.
    loss : Tensor () or anything
        What is no number that can be read, as inside of `torch.func.vmap`, tells
        nothing.

    Returns
    -------
    bool or None
        None where both alignments have this loss, or neither has.

    Notes
    -----
    A log-softmax of the logits, without a graph. Equal is what differs by no more than
    the rounding of the loss, and of a sum over the labels that count.
    """
    if not _is_number(loss) or is_transformed():
        return None
    value = float(loss.detach())
    equal = [
        abs(entropy - value) <= _rounding(loss, count) * max(1.0, abs(value))
        for entropy, count in _mean_cross_entropies(logits, labels)
    ]
    return None if equal[0] == equal[1] else equal[1]


def shifted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits (b, ..., t - 1, c) of positions that have a next, and those."""
    return logits[..., :-1, :], labels[..., 1:]


def may_be_aligned(logits: Tensor, labels: Tensor) -> bool:
    """Tell whether these are logits with a label of a class for each position."""
    return labels.shape == logits.shape[:-1] and not labels.is_floating_point()


@torch.no_grad()
def _mean_cross_entropies(logits: Tensor, labels: Tensor) -> list[tuple[float, int]]:
    """Return the means of labels where they are, and shifted, with the counts."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_probabilities = logits.detach().log_softmax(-1, dtype=wide)
    means = []
    for rows, of in ((log_probabilities, labels), shifted(log_probabilities, labels)):
        classes = of.long().clamp(0, logits.shape[-1] - 1)
        each = rows.gather(-1, classes[..., None])[..., 0][of != IGNORED]
        means.append((-float(each.mean()), each.numel()))  # of none: not a number
    return means


def _is_number(loss: Any) -> bool:
    return isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point()


def _rounding(loss: Tensor, count: int) -> float:
    """Return how far off a mean may be whose terms were summed in float32."""
    summed = 8 * count**0.5 * torch.finfo(torch.float32).eps
    return float(2 * torch.finfo(loss.dtype).eps + summed)
