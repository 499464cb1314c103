"""Which optimizers may step projected parameters, and how."""

import warnings
from collections.abc import Iterable
from typing import Literal

import torch
from torch.optim import Optimizer

from rgo_torch.parameters import ProjectedParameter

Project = Literal["gradient", "update"]

# They rescale the gradient, entry by entry or (Muon) direction by direction, which
# undoes a projection of it. Those that this PyTorch has.
ADAPTIVE = tuple(
    getattr(torch.optim, name)
    for name in (
        *("Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax"),
        *("Muon", "NAdam", "RAdam", "RMSprop", "Rprop"),
    )
    if hasattr(torch.optim, name)
)


def check_optimizer(
    optimizer: Optimizer, parameters: Iterable[ProjectedParameter], project: Project
) -> None:
    """Refuse an optimizer of another model; warn of one that undoes a projection.

    Raises
    ------
    ValueError
        If it holds none of the parameters.

    Warns
    -----
    UserWarning
        If it is adaptive and would get projected gradients.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    wanted = [id(parameter.tensor) for parameter in parameters]
    if wanted and not held.intersection(wanted):
        raise ValueError(
            "optimizer must hold the model's parameters, got one that holds none of "
            f"the {len(wanted)} to project: was the model rebuilt after the optimizer?"
        )
    if project == "gradient" and isinstance(optimizer, ADAPTIVE):
        warnings.warn(
            f"{type(optimizer).__name__} rescales the gradient, which undoes a "
            "projection of it; use project='update'",
            stacklevel=4,
        )
