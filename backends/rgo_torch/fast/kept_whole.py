"""A weight's gradient as one operation, into which `torch.compile` does not look.

What is traced would hold the projection of one task, and would not note what is sent.
"""

from itertools import count
from typing import Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor


class Owner(Protocol):
    """What forms the gradient of a layer's weight."""

    def formed(self, inputs: Tensor, output_gradients: Tensor) -> Tensor:
        """Return the gradient."""


# A graph holds no objects. A number that is a tensor is no part of it, so that layers
# of one shape share what was compiled.
_owners: WeakValueDictionary[int, Owner] = WeakValueDictionary()
_numbers = count()  # an id would be given again to what comes after


def number_of(owner: Owner) -> Tensor:
    """Return the number by which graphs know an owner, as long as it lives."""
    number = next(_numbers)
    _owners[number] = owner
    return torch.tensor(number)


@torch.library.custom_op("rgo_torch::weight_gradient", mutates_args=())
def weight_gradient(
    inputs: Tensor, output_gradients: Tensor, weight: Tensor, number: Tensor
) -> Tensor:
    """Return what the owner of a number forms, in the shape of its weight."""
    owner = _owners.get(int(number))
    if owner is None:
        raise RuntimeError(
            "expected a compiled model to be attached as it was in its forward pass, "
            "got one that was detached before its backward pass; call it again"
        )
    return owner.formed(inputs, output_gradients)


@weight_gradient.register_fake
def _shape(
    inputs: Tensor, output_gradients: Tensor, weight: Tensor, number: Tensor
) -> Tensor:
    return weight.new_empty(weight.shape)
