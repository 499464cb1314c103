"""Weight decay that an optimizer adds to gradients after they were projected."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from torch.optim import Optimizer

from rgo_torch.warning import warn_caller

# Of every weight in a thousand steps: what less takes did not show in old tasks.
MOST_WORN: Final = 0.01


def warn_of_decay(optimizers: Iterable[Optimizer], projected: Collection[int]) -> None:
    """Warn of a decay that wears what is closed, of parameters with these ids.

    Warns
    -----
    UserWarning
        If it takes more than a hundredth of a weight in 1000 steps.
    """
    each = (
        (worn_by(group), type(optimizer).__name__)
        for optimizer in optimizers
        for group in optimizer.param_groups
        if any(id(p) in projected for p in group["params"])
    )
    worn, name = max(each, default=(0.0, ""))
    if worn > MOST_WORN:
        warn_caller(
            f"the weight decay of {name} is added to gradients that are projected "
            f"already: it takes {100 * worn:.0f} % of every weight in 1000 steps, "
            "along directions that are closed too, and old tasks fade; leave it out "
            "(weight_decay=0)"
        )


def worn_by(group: Mapping[str, Any]) -> float:
    """Return what share of its weights a group's decay takes in 1000 steps.

    Of steps at the learning rate that its schedule begins with, whose gradients are
    zero; momentum adds up what each of them takes.
    """
    lr = float(group.get("initial_lr", group.get("lr", 0.0)))
    a_step = lr * float(group.get("weight_decay") or 0.0)
    momentum = float(group.get("momentum") or 0.0)
    if momentum < 1:
        a_step *= (1 - float(group.get("dampening") or 0.0)) / (1 - momentum)
    return -math.expm1(-1000 * a_step)
