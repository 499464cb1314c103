"""The gradient of one parameter, projected as it reaches the parameter."""

import torch
from torch import Tensor

from rgo_torch.layers.rows import RowLayer
from rgo_torch.modules.torch_private import gradient_hooks
from rgo_torch.parameters.parameter import ProjectedParameter
from rgo_torch.projecting.projected_forward import (
    BringProjection,
    ProjectedForward,
    has_foreign_forward,
)


class ProjectedGradient:
    """Multiplies a parameter's gradient by a projection, until it is removed.

    Parameters
    ----------
    parameter : ProjectedParameter
    bring : callable
        Returns the projection to use now; None leaves the gradient as it is.

    Attributes
    ----------
    reached : bool
        Whether a backward pass has reached the parameter since this was set to False.
    """

    reached = False

    def __init__(self, parameter: ProjectedParameter, bring: BringProjection) -> None:
        self._parameter, self._bring = parameter, bring
        tensor = parameter.tensor
        # Where a user's hook comes first, what was sent is no longer part of the sum.
        self._forward = (
            None if gradient_hooks(tensor) else _projected_forward(parameter, bring)
        )
        self._sent = None if self._forward is None else self._forward.sent
        # A frozen parameter takes no hook, yet keeps one that it has.
        required = tensor.requires_grad
        tensor.requires_grad_(True)
        self._handle = tensor.register_hook(self._project)
        tensor.requires_grad_(required)

    def remove(self) -> None:
        """Leave gradients alone from now on."""
        self._handle.remove()
        if self._forward is not None:
            self._forward.remove()

    def _project(self, gradient: Tensor) -> Tensor | None:
        self.reached = True
        sent = self._sent
        if sent is not None and sent.take_whole(gradient):
            return None  # nothing else reached the weight
        parts = [] if sent is None else sent.take()
        projection = self._bring()
        if projection is None:
            return None
        if not parts:
            return self._parameter.projected(projection, gradient)
        whole = torch.stack(parts).sum(0)
        return whole + self._parameter.projected(projection, gradient - whole)


def _projected_forward(
    parameter: ProjectedParameter, bring: BringProjection
) -> ProjectedForward | None:
    layer, own = parameter.uses[0]
    if own != "weight" or len(parameter.uses) > 1 or not isinstance(layer, RowLayer):
        return None
    if has_foreign_forward(layer.module) or not layer.is_plain:
        return None
    return ProjectedForward(layer, bring)
