"""The piece of a parameter's update that a worker holds, projected."""

from torch import Tensor

from rgo_torch.distributed.gathered import cut_axes, own_piece, whole_of
from rgo_torch.parameters import ProjectedParameter, Projection


def projected_piece(
    parameter: ProjectedParameter, projection: Projection, piece: Tensor
) -> Tensor:
    """Return what a worker holds of an update, projected.

    Cut along its outputs alone, each piece is projected by itself; another is gathered
    first, from all workers, which call this together.

    Notes
    -----
    ``n^2 m / w`` multiplications of a weight cut along its outputs by w workers, and
    nothing sent; ``n^2 m`` and the parameter's size otherwise.
    """
    axes, held = parameter.axes, parameter.sharded
    if held is None:
        return parameter.projected(projection, piece)
    cut = cut_axes(held)
    if cut is not None and axes.shape is None and cut <= set(axes.outputs):
        return parameter.projected(projection, piece)
    whole = parameter.projected(projection, whole_of(piece, held))
    return own_piece(whole, held)
