"""The layer that is left in order is the last: a matrix that comes after it may be."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_torch import FeatureEncoder


class Own(nn.Module):
    """A body, and a matrix that each of the classes below puts somewhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(4))
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


class After(Own):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) @ self.matrix


class Prototypes(Own):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(functional.normalize(self.body(x)), self.matrix)


class Before(Own):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x @ self.matrix)


class Added(Own):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.matrix


class Matrix(Own):
    def __init__(self) -> None:
        super().__init__()
        del self.body

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def encoded(model: nn.Module) -> list[str]:
    return list(FeatureEncoder(model).widths)


@pytest.mark.parametrize("kind", [After, Prototypes])
def test_the_last_layer_is_encoded_where_a_matrix_comes_after_it(
    kind: type[Own],
) -> None:
    assert encoded(kind()) == ["body.0", "body.2"]
    assert encoded(nn.Sequential(kind())) == ["0.body.0", "0.body.2"]
    assert encoded(nn.Sequential(nn.Linear(4, 4), Matrix())) == ["0"]


@pytest.mark.parametrize("kind", [Before, Added])
def test_the_last_layer_stays_in_order_where_none_comes_after_it(
    kind: type[Own],
) -> None:
    assert encoded(kind()) == ["body.0"]
    assert encoded(nn.Sequential(kind(), nn.Linear(4, 4))) == ["0.body.0", "0.body.2"]
    assert encoded(nn.Sequential(Matrix(), nn.Linear(4, 4))) == ["0"]
