"""Weight decay, which wears old tasks: it pulls at what they need in every step."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

import torch
from torch.optim import Optimizer

from rgo_torch.modules.warning import warn_caller

# Of every weight in a thousand steps. Of permuted digits SGD at 1 % lost 0.2 points, at
# 5 % half a point, AdamW that at 10 %: its default is 1 % at a learning rate of 0.001.
MOST_WORN: Final[Mapping[str, float]] = {"gradient": 0.01, "update": 0.1}
# They divide the decay, with the gradient, by its running size.
RESCALING: Final = (
    *(torch.optim.Adam, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax),
    *(torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.RMSprop),
)
TAKES: Final[Mapping[str, str]] = {
    "gradient": "is added to gradients that are projected already: it takes",
    "update": "is projected, but no direction is closed wholly: by itself it takes",
}


def warn_of_decay(
    optimizers: Iterable[Optimizer],
    parameters: Collection[int],
    project: Literal["gradient", "update"],
) -> None:
    """Warn where the decay of parameters with these ids takes much of them.

    Warns
    -----
    UserWarning
        If it takes more than a hundredth of a weight in 1000 steps, or a tenth where it
        is projected with the update.
    """
    each = (
        (worn_by(optimizer, group), type(optimizer).__name__)
        for optimizer in optimizers
        for group in optimizer.param_groups
        if any(id(p) in parameters for p in group["params"])
    )
    worn, name = max(each, default=(0.0, ""))
    if worn > MOST_WORN[project]:
        warn_caller(
            f"the weight decay of {name} {TAKES[project]} {100 * worn:.0f} % of every "
            "weight in 1000 steps, and old tasks fade; leave it out (weight_decay=0), "
            "or take less"
        )


def worn_by(optimizer: Optimizer, group: Mapping[str, Any]) -> float:
    """Return what share of its weights a group's decay takes in 1000 steps.

    Of unprojected steps at the learning rate that its schedule is of, whose gradients
    are zero; momentum adds up what each of them takes.
    """
    decay = float(group.get("weight_decay") or 0.0)
    is_apart = group.get("decoupled_weight_decay", False)
    if not decay or (isinstance(optimizer, RESCALING) and not is_apart):
        return 0.0
    # Adafactor of transformers has None where it chooses its own rate.
    a_step = float(group.get("initial_lr") or group.get("lr") or 0.0) * decay
    if isinstance(optimizer, torch.optim.SGD) and group["momentum"] < 1:
        a_step *= (1 - group["dampening"]) / (1 - group["momentum"])
    return -math.expm1(-1000 * a_step)
