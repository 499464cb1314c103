"""Closures for optimizers whose update is projected."""

import inspect
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


def run_closures_first(optimizer: Optimizer) -> RemovableHandle:
    """Make ``step(closure)`` run the closure first and then step without one.

    Which is what an optimizer does that can do without. Attach RGO afterwards: with
    ``project="update"`` it refuses a closure, which could evaluate the loss more
    than once between two updates. One that needs a closure (LBFGS) still brings it.

    Returns
    -------
    RemovableHandle
    """
    return optimizer.register_step_pre_hook(_run_first)


def _run_first(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    signature = inspect.signature(type(optimizer).step)
    closure = signature.parameters.get("closure")
    if closure is None or closure.default is inspect.Parameter.empty:
        return None
    given = signature.bind(*args, **kwargs)
    run = given.arguments.pop("closure", None)
    if run is not None:
        with torch.enable_grad():
            run()
    return given.args, given.kwargs
