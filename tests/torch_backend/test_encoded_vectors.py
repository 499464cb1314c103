"""What encoded layers of every kind are observed by, against loops over samples."""

import copy
from collections.abc import Iterator

import pytest
import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch_backend.readers import READERS, SAMPLES, WIDTH, WORDS, Reader, data, score
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import Axes, FeatureEncoder, find_layout, second_moments

HEAD = Axes(inputs=(1,), outputs=(0,))


def axes_of(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Axes]]:
    for layer in find_layout(model).layers:
        for own, axes in layer.axes.items():
            yield layer.full_name(own), model.get_parameter(layer.full_name(own)), axes


def moment(gradient: Tensor, axes: Axes) -> Tensor:
    """Return the second moment of one sample's root mean square over the outputs."""
    rows = rgo_core.to_rows(gradient, axes, xp=xp)
    columns = rgo_core.reduce_outputs(rows.mT, reduce="rms", xp=xp)
    square = columns @ columns.mT
    return square.diagonal(dim1=-2, dim2=-1) if axes.diagonal else square


@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("name", READERS)
def test_an_encoded_layer_is_observed_in_its_own_order(name: str, task: int) -> None:
    model = READERS[name]().double()
    FeatureEncoder(model, seed=7).set_task(task)
    x, y = data()
    found = second_moments(model, [(x, y)], per="sample", reduce="rms", score=score)
    expected = {name: 0.0 for name, _ in model.named_parameters()}
    for sample in zip(x.split(1), y.split(1), strict=True):
        model.zero_grad()
        score(model, sample).sum().backward()
        for own, parameter, axes in axes_of(model):
            assert parameter.grad is not None
            expected[own] += moment(parameter.grad.to_dense(), axes)
    for own, whole in expected.items():
        matrix, _ = found[own]
        assert_near(matrix, whole, amplification=100)


def test_a_tied_embedding_is_observed_in_its_own_order() -> None:
    """As a head it has its rows' gradients, shared out among all words."""
    model = Reader(nn.RNN, WIDTH, WIDTH, batch_first=True).double()
    model.head = nn.Linear(WIDTH, WORDS, bias=False).double()
    apart = copy.deepcopy(model)
    apart.head.weight = nn.Parameter(model.words.weight.detach().clone())
    model.head.weight = model.words.weight
    for each in (model, apart):
        FeatureEncoder(each, seed=7).set_task(1)
    x, _ = data()
    y = torch.randint(WORDS, (SAMPLES,))
    found = second_moments(model, [(x, y)], per="sample", reduce="rms", score=score)
    expected = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    for sample in zip(x.split(1), y.split(1), strict=True):
        apart.zero_grad()
        score(apart, sample).sum().backward()
        rows, head = apart.words.weight.grad, apart.head.weight.grad
        assert rows is not None
        assert head is not None
        expected += rows.mT @ rows / WORDS + moment(head, HEAD)
    assert_near(found["words.weight"].matrix, expected, amplification=100)
