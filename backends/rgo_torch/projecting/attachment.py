"""Whether a model is still the one that a projector was attached to, and it alone."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from rgo_torch.mesh.gathered import mesh_of, sharded_modules
from rgo_torch.mesh.tensor_parallel import is_cut
from rgo_torch.modules.claims import check_free
from rgo_torch.modules.hooks import already_attached
from rgo_torch.modules.torch_private import gradient_hooks, step_hooks
from rgo_torch.modules.wrappers import check_whole, named_modules, named_parameters
from rgo_torch.parameters.parameter import ProjectedParameter
from rgo_torch.projecting.optimizers import Project
from rgo_torch.projecting.projected_gradient import ProjectedGradient
from rgo_torch.projecting.projected_update import ProjectedUpdate
from rgo_torch.statistics import normalizations

# How to go on with another model.
ANEW = "detach() RGO, attach a new one, and load this one's state into it"


def check_parameters(
    model: nn.Module,
    parameters: Mapping[str, ProjectedParameter],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Raise unless a model has the parameters that it had.

    Parameters
    ----------
    model : nn.Module
    parameters : mapping of str to ProjectedParameter
        Those that are projected.
    shapes : mapping of str to tuple of int
        Of all parameters, when the projector was attached.

    Raises
    ------
    RuntimeError
        If one was replaced by another or added, or has another shape.
    ValueError
        If the model was sharded since.
    """
    now = dict(named_parameters(model))
    modules = dict(named_modules(model))
    for name, parameter in parameters.items():
        for layer, own in parameter.uses:
            module = modules.get(layer.name)
            if module is not layer.module:
                lost = "its gradient is not projected"
                raise RuntimeError(_replaced(layer.name, layer.module, module, lost))
            there = layer.parameter(own)
            if there is not parameter.tensor and there is not parameter.held:
                raise _exchanged(name, model, now)
        if parameter.tensor.shape != shapes[name]:
            raise RuntimeError(
                f"{name}: has shape {tuple(parameter.tensor.shape)}, and had "
                f"{shapes[name]} when RGO was attached; give its module more outputs, "
                f"{ANEW}, with grown="
            )
    new = set(now) - set(shapes)
    added = sorted(name for name in new if now[name].requires_grad)
    if added:
        raise RuntimeError(
            f"{', '.join(added)}: not there when RGO was attached, and not "
            f"protected; make all parts of the model before, or {ANEW}"
        )


def check_has_gradients(model: nn.Module, project: Project) -> None:
    """Raise ValueError where gradients are to be projected and are nowhere whole."""
    if project == "gradient" and mesh_of(model) is not None:
        raise ValueError(
            "expected project='update' of a model that tensor parallelism cut up, got "
            "'gradient': with SGD both are the same"
        )


def check_normalizations(model: nn.Module, known: Mapping[str, nn.Module]) -> None:
    """Raise RuntimeError unless a model has the normalisations that it had."""
    now = dict(named_modules(model))
    lost = "its running statistics are not kept"
    for name, module in known.items():
        if now.get(name) is not module:
            raise RuntimeError(_replaced(name, module, now.get(name), lost))
    for name in normalizations(model).keys() - known.keys():
        raise RuntimeError(
            f"{name}: the {type(now[name]).__name__} was not there when RGO was "
            f"attached, and {lost}; make all parts of the model before"
        )


def check_alone(
    parameters: Collection[ProjectedParameter], optimizers: Iterable[Optimizer]
) -> None:
    """Raise ValueError where another projector has parameters or optimizers."""
    hooked: list[tuple[str, Iterable[Any]]] = [
        (parameter.name, gradient_hooks(parameter.tensor)) for parameter in parameters
    ]
    hooked += [(type(each).__name__, step_hooks(each)) for each in optimizers]
    kinds = ProjectedGradient, ProjectedUpdate
    for name, hooks in hooked:
        if any(isinstance(getattr(hook, "__self__", None), kinds) for hook in hooks):
            raise already_attached(name)
    for parameter in parameters:
        check_free(parameter.name, parameter.tensor, parameter.held)


def _exchanged(
    name: str, model: nn.Module, now: Mapping[str, nn.Parameter]
) -> Exception:
    """Return the error of a parameter in whose place the model has another."""
    there = now.get(name)
    if sharded_modules(model) or (there is not None and is_cut(there)):
        return ValueError(
            f"{name}: cut up since RGO was attached: call fully_shard or "
            "parallelize_module before RGO is attached"
        )
    if there is None:
        return RuntimeError(
            f"{name}: the model has no such parameter any more, as where it was "
            "pruned, parametrized, tied or removed, and what is computed with now is "
            f"not projected; do that before RGO is attached, or {ANEW}, in which the "
            "name of what it is computed from stands in place of this one"
        )
    check_whole(name, there)
    return RuntimeError(
        f"{name}: the model has another parameter there than when RGO was attached, "
        f"and its gradient is not projected; {ANEW}"
    )


def _replaced(name: str, was: nn.Module, now: nn.Module | None, lost: str) -> str:
    there = "none" if now is None else f"a new {type(now).__name__}"
    return (
        f"{name}: the {type(was).__name__} that RGO was attached to was replaced, "
        f"there is {there} there, and {lost}; {ANEW}, with grown= where a layer has "
        "more outputs"
    )
