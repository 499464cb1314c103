"""A matrix of one's own that no source tells of is warned of, with what to do."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import sgd

from rgo_torch import RGO, Axes

IN_OUT = Axes(inputs=(0,), outputs=(1,))


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def product(x: Tensor, matrix: Tensor) -> Tensor:
    return x @ matrix


class Hidden(nn.Module):
    """Multiplies where its source does not show it, and adds what may have any name."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.frozen = weight(3, 3), weight(3, 3)
        self.shifts, self.table = weight(3, 3), weight(3, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = product(x, self.matrix) + product(x, self.frozen)
        return x + self.shifts.sum(0) - torch.exp(self.table).sum(0)


class FromLeft(nn.Module):
    """Has its outputs along an axis that none of its products tells."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = weight(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.matrix.T @ x.T).T


def notes_on(model: nn.Module, caught: pytest.WarningsRecorder, **options: Any) -> str:
    caught.clear()
    RGO(model, sgd(model), **options).detach()
    return "\n".join(str(each.message) for each in caught)


def test_a_matrix_that_nothing_tells_of_is_warned_of(
    recwarn: pytest.WarningsRecorder,
) -> None:
    model = nn.Sequential(nn.Linear(4, 3), Hidden(), nn.Linear(3, 2))
    found = notes_on(model, recwarn)
    assert found.startswith("1.matrix: kept entry by entry")
    assert "layout={'1.matrix': Axes(inputs=(0,), outputs=(1,))}" in found
    for axes in (IN_OUT, Axes(inputs=(0, 1), diagonal=True), None):
        assert notes_on(model, recwarn, layout={"1.matrix": axes}) == ""


class Image(nn.Module):
    """Is trained to look like something to a network that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(1, 4, 3).requires_grad_(False)
        self.image = nn.Parameter(torch.rand(1, 1, 12, 12))

    def forward(self) -> Tensor:
        return self.network(self.image)


def test_the_axes_that_a_warning_advises_are_all_of_the_parameter(
    recwarn: pytest.WarningsRecorder,
) -> None:
    found = notes_on(Image(), recwarn)
    multiplied = Axes(groups=(0, 1), inputs=(2,), outputs=(3,))
    assert "'image': Axes(groups=(0, 1), inputs=(2,), outputs=(3,))} for x @ w" in found
    by_entry = Axes(inputs=(0, 1, 2, 3), diagonal=True)
    assert "Axes(inputs=(0, 1, 2, 3), diagonal=True) where entry by entry" in found
    for axes in (multiplied, by_entry):
        options = {"layout": {"image": axes}, "encode": False}
        assert notes_on(Image(), recwarn, **options) == ""


def test_a_model_of_which_nothing_is_encoded_is_warned_of(
    recwarn: pytest.WarningsRecorder,
) -> None:
    model = nn.Sequential(FromLeft(), nn.ReLU(), FromLeft())
    assert notes_on(model, recwarn).startswith("nothing is encoded, for no layer is")
    assert notes_on(model, recwarn, encode=False) == ""
    assert notes_on(nn.Sequential(FromLeft(), nn.Linear(3, 2)), recwarn) == ""
    assert notes_on(nn.Linear(3, 2), recwarn) == ""  # the head stays in order
