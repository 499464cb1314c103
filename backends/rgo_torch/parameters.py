"""The parameters RGO projects: the weights and biases of the layers it knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rgo_core import SecondMoment
from rgo_torch._product import projected_rows
from rgo_torch.layer import Layer
from rgo_torch.layers import original_model


@dataclass(frozen=True)
class ProjectedParameter:
    """A weight or a bias, with the features that its projection acts on."""

    name: str  # in the model
    tensor: nn.Parameter
    is_bias: bool
    layers: list[Layer] = field(default_factory=list)  # several where it is tied

    @property
    def features(self) -> int:
        """n: the length of a curvature vector."""
        return self.layers[0].width if self.is_bias else self.layers[0].features

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """The shape of the second moment and of the projection."""
        groups = 1 if self.is_bias else self.layers[0].groups
        leading = () if groups == 1 else (groups,)
        return (*leading, self.features, self.features)

    @property
    def moment_device(self) -> torch.device:
        """The parameter's device, or the CPU where that has no float64."""
        device = self.tensor.device
        return torch.device("cpu") if device.type == "mps" else device

    @property
    def projection_dtype(self) -> torch.dtype:
        """The parameter's dtype, yet float32 at the least."""
        return projection_dtype(self.tensor)

    def rows(self, tensor: Tensor) -> Tensor:
        """View the parameter or its gradient with the features on the last axis."""
        return tensor if self.is_bias else self.layers[0].weight_rows(tensor)

    def placed(self, projection: Tensor) -> Tensor:
        """Return a projection where the parameter is, in the dtype to apply it in."""
        return projection.to(self.tensor.device, self.projection_dtype)

    def placed_moment(self, moment: SecondMoment) -> SecondMoment:
        """Check a second moment, and return it where the parameter's is kept."""
        self.check_matrix(moment.matrix)
        device = self.moment_device
        matrix = moment.matrix.to(device, torch.float64)
        return SecondMoment(matrix, moment.count.to(device))

    def check_matrix(self, matrix: Tensor) -> None:
        """Raise ValueError unless it has the shape of a projection, and is finite."""
        if tuple(matrix.shape) != self.matrix_shape:
            raise ValueError(
                f"{self.name}: expected a matrix of shape {self.matrix_shape}, "
                f"got {tuple(matrix.shape)}"
            )
        if not bool(torch.isfinite(matrix).all()):
            raise ValueError(f"{self.name}: expected finite numbers, got NaN or inf")

    def projected(self, projection: Tensor, gradient: Tensor) -> Tensor:
        """Return a gradient or an update of the parameter, projected."""
        rows = self.rows(gradient).to(projection.dtype)
        projected = projected_rows(projection, rows)
        return projected.reshape(gradient.shape).to(gradient.dtype)


def projection_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a tensor's projection is applied in."""
    return torch.promote_types(tensor.dtype, torch.float32)


def projected_parameters(
    model: nn.Module, layers: Sequence[Layer]
) -> dict[str, ProjectedParameter]:
    """Return the parameters of `layers` by their names in `model`, tied ones once."""
    names = {id(p): name for name, p in original_model(model).named_parameters()}
    found: dict[str, ProjectedParameter] = {}
    for layer in layers:
        for tensor, is_bias in ((layer.weight, False), (layer.bias, True)):
            if tensor is not None:
                name = names[id(tensor)].replace("_orig_mod.", "")
                new = ProjectedParameter(name, tensor, is_bias)
                found.setdefault(name, new).layers.append(layer)
    return found
