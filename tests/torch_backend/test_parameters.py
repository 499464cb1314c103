"""Parameters are named as in the model, and tied ones stand once."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch_backend.nets import compiled, mlp

from rgo_core import Axes
from rgo_torch.layout import find_layout
from rgo_torch.parameters.forms import empty_moment
from rgo_torch.parameters.found import projected_parameters
from rgo_torch.parameters.parameter import ProjectedParameter, make_bound


def test_every_weight_and_bias_has_features_of_its_own() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Linear(5, 3, bias=False))
    found = projected_parameters(model, find_layout(model).layers)
    assert {name: (*p.groups, p.features) for name, p in found.items()} == {
        "0.weight": (2, 18),
        "0.bias": (6,),
        "1.weight": (5,),
    }


def test_a_tied_weight_stands_once_with_both_its_layers() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    found = projected_parameters(model, find_layout(model).layers)
    assert list(found) == ["0.weight", "0.bias", "1.bias"]
    assert [layer.name for layer, _ in found["0.weight"].uses] == ["0", "1"]


def test_names_do_not_depend_on_what_is_compiled() -> None:
    model = mlp()
    expected = list(dict(model.named_parameters()))
    model[2] = compiled(model[2])
    found = projected_parameters(compiled(model), find_layout(model).layers)
    assert list(found) == expected


def test_a_projection_is_float32_at_the_least() -> None:
    for dtype, expected in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        model = nn.Linear(3, 2, dtype=dtype)
        found = projected_parameters(model, find_layout(model).layers)
        assert found["weight"].projection_dtype == expected


@pytest.mark.parametrize(("device", "kept"), [("mps", "cpu"), ("cuda", "cuda")])
@pytest.mark.parametrize("form", ["full", "diagonal", "sketch"])
def test_second_moments_are_kept_where_float64_is(
    device: str, kept: str, form: str
) -> None:
    with FakeTensorMode():  # a tensor that says where it is, and has no numbers
        tensor = nn.Parameter(torch.empty(4, 3, device=device))
        axes = Axes(outputs=(0,), inputs=(1,), diagonal=form == "diagonal")
        bound = make_bound(2 if form == "sketch" else None, 2)
        parameter = ProjectedParameter("x", tensor, axes, bound)
        moment = empty_moment(parameter)
        assert parameter.form == form
        assert {part.device.type for part in moment} == {kept}
