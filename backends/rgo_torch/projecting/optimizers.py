"""Which optimizers may step projected parameters, and how."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from rgo_core._checks import few_names
from rgo_torch.modules.torch_private import has_step_hooks
from rgo_torch.modules.warning import warn_caller
from rgo_torch.parameters.parameter import ProjectedParameter
from rgo_torch.projecting.decay import warn_of_decay

Project = Literal["gradient", "update"]

# They rescale the gradient, entry by entry or (Muon) direction by direction, which
# undoes a projection of it. Those that this PyTorch has.
ADAPTIVE = tuple(
    getattr(torch.optim, name)
    for name in (
        *("Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax"),
        *("Muon", "NAdam", "RAdam", "RMSprop", "Rprop", "SparseAdam"),
    )
    if hasattr(torch.optim, name)
)

# Their steps are sums of the gradients they were given, so that projected ones make
# projected steps. Of no others is that known: an optimizer from elsewhere may take
# signs (Lion), or divide by running norms (Adafactor of transformers, 8-bit Adam).
SUMMING = (torch.optim.SGD, torch.optim.ASGD, torch.optim.LBFGS)

# P leaves every direction a little open, and these come back to what it takes of a step
# until nothing is left: what they do in few steps is projected, in many it is not.
UNDOING = {
    torch.optim.LBFGS: "divides by the curvature of the projected gradients",
    torch.optim.Rprop: "takes longer steps as long as a gradient keeps its sign",
}

# What to give where there is none.
WITHOUT = (
    "; for a loop that adds to the weights itself give torch.optim.SGD of the model's "
    "parameters, and never step it"
)

# Sums of gradients, as optimizers call them: linear in what was projected.
MOMENTUM = ("momentum_buffer", "exp_avg")


def as_optimizers(given: Optimizer | Iterable[Optimizer]) -> tuple[Optimizer, ...]:
    """Return what was given, one optimizer or several, as several.

    Raises
    ------
    TypeError
        If one has no parameter groups.
    ValueError
        If there is none.
    """
    single: Any = given
    is_several = isinstance(given, Iterable) and not hasattr(given, "param_groups")
    found: tuple[Any, ...] = tuple(single) if is_several else (single,)
    for optimizer in found:
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(
                "optimizer must be an optimizer of PyTorch or several, got a "
                f"{type(optimizer).__name__}{WITHOUT if optimizer is None else ''}"
            )
    if not found:
        raise ValueError(f"expected an optimizer or several, got no optimizer{WITHOUT}")
    return found


def with_inner(optimizers: Iterable[Optimizer]) -> list[Optimizer]:
    """Return optimizers with those that they wrap, as a Lookahead does."""
    waiting, found = list(optimizers), list[Optimizer]()
    while waiting:
        optimizer = waiting.pop()
        if any(optimizer is each for each in found):
            continue
        found.append(optimizer)
        own = getattr(optimizer, "__dict__", {})
        inner = [each for each in own.values() if _is_optimizer(each)]
        waiting += inner
    return found


def sums_gradients(optimizer: Optimizer) -> bool:
    """Whether an optimizer is known to step by sums of gradients, or one that it wraps.

    What wraps others (a Lookahead, SAM) is taken for what these are.
    """
    if isinstance(optimizer, SUMMING):
        return True
    inner = [o for o in with_inner([optimizer]) if o is not optimizer]
    steps = [o for o in inner if has_step_hooks(o)]
    return bool(steps) and all(isinstance(o, SUMMING) for o in steps)


def _is_optimizer(given: object) -> bool:
    return hasattr(given, "param_groups") and hasattr(given, "state")


def held_by(optimizer: Optimizer) -> set[int]:
    """Return the ids of the parameters that an optimizer steps."""
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def check_optimizers(
    optimizers: Sequence[Optimizer],
    parameters: Iterable[ProjectedParameter],
    project: Project,
) -> None:
    """Refuse optimizers of another model; warn of what is lost with those given.

    Raises
    ------
    TypeError
        If the updates of one are to be projected, and it calls no hooks, or if one is
        schedule-free.
    ValueError
        If they hold none of the parameters.

    Warns
    -----
    UserWarning
        If one is adaptive and would get projected gradients, or undoes any projection;
        if the decay of one wears weights; or if updates are projected and none holds a
        parameter that is trained.
    """
    parameters = list(parameters)
    unheld = unheld_parameters(optimizers, parameters)
    if parameters and len(unheld) == len(parameters):
        raise ValueError(
            "optimizer must hold the model's parameters, got one that holds none of "
            f"the {len(parameters)} to project: was the model rebuilt after the "
            "optimizer?"
        )
    every = with_inner(optimizers)
    for optimizer in every:
        _check_schedule(optimizer)
        _warn_of_undoing(optimizer)
    warn_of_decay(every, {id(p.held) for p in parameters}, project)
    if project == "update":
        for optimizer in optimizers:
            _check_hooks(optimizer)
        trained = [p.name for p in unheld if p.held.requires_grad]
        if trained:
            warn_caller(
                f"{few_names(trained)}: held by no optimizer given, so that their "
                "updates are not projected; give RGO all optimizers, in a list"
            )
        return
    for optimizer in optimizers:
        if isinstance(optimizer, ADAPTIVE) and not isinstance(optimizer, (*UNDOING,)):
            warn_caller(
                f"{type(optimizer).__name__} rescales the gradient, which undoes a "
                "projection of it; use project='update'"
            )


def drop_momentum(
    optimizers: Iterable[Optimizer], parameters: Iterable[ProjectedParameter]
) -> None:
    """Set to zero what is kept of the gradients of parameters; of LBFGS all.

    By optimizers, and by the parameters, as where they accumulate over steps. It was
    projected by the projections of its task. In the next task's first steps it would
    go on changing what has been closed since, and features in another order.
    """
    tensors = [parameter.held for parameter in parameters]
    for tensor in tensors:
        if tensor.grad is not None:
            tensor.grad.detach().zero_()
    for optimizer in with_inner(optimizers):
        if isinstance(optimizer, torch.optim.LBFGS):
            # Its history is of all parameters together, and of steps between gradients
            # that other projections made.
            optimizer.state.clear()
            continue
        state = getattr(optimizer, "state", {})  # a wrapper may have none
        for tensor, name in itertools.product(tensors, MOMENTUM):
            momentum = state.get(tensor, {}).get(name)
            if isinstance(momentum, Tensor):
                momentum.zero_()


def unheld_parameters(
    optimizers: Iterable[Optimizer], parameters: Iterable[ProjectedParameter]
) -> list[ProjectedParameter]:
    """Return the parameters that none of the optimizers steps."""
    held = set().union(*map(held_by, optimizers))
    return [p for p in parameters if id(p.held) not in held]


def _check_hooks(optimizer: Optimizer) -> None:
    """Refuse what looks like an optimizer and calls no hooks at its steps."""
    if not has_step_hooks(optimizer):
        raise TypeError(
            "project='update' needs an optimizer that calls step hooks, as those of "
            f"torch.optim do, got a {type(optimizer).__name__}; give RGO the optimizer "
            "that it wraps, or say project='gradient' if it steps by sums of gradients "
            "as SGD does"
        )


def _check_schedule(optimizer: Optimizer) -> None:
    """Refuse what steps one copy of the weights and tests another, their average."""
    groups = optimizer.param_groups
    if hasattr(optimizer, "train_mode") or any("train_mode" in g for g in groups):
        raise TypeError(
            f"{type(optimizer).__name__} is schedule-free: it steps one copy of the "
            "weights and tests their average, and RGO can keep both from changing in "
            "no way; use the optimizer that it was made from, with a schedule"
        )


def _warn_of_undoing(optimizer: Optimizer) -> None:
    for kind, what in UNDOING.items():
        if isinstance(optimizer, kind):
            warn_caller(
                f"{kind.__name__} {what}, and so makes up, after some steps, for what "
                "a projection takes: old tasks are not protected then; use SGD or Adam"
            )
