"""Rows of inputs and outputs multiply to the gradient of the weight."""

import pytest
import torch
from torch import nn
from torch_backend.layer_kinds import assert_factors
from torch_backend.nets import batch, mlp, sgd, train, weights_of

from rgo_torch import RGO
from rgo_torch.layers.rows import LinearLayer


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_rows_of_a_linear_layer_are_the_factors_of_its_gradient(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    assert_factors(LinearLayer("", nn.Linear(5, 3)), torch.randn(shape))


def test_the_samples_are_the_first_axis_and_the_rest_are_positions() -> None:
    linear = LinearLayer("", nn.Linear(5, 3))
    assert linear.input_rows(torch.zeros(2, 3, 4, 5)).shape == (2, 12, 5)


@pytest.mark.filterwarnings("ignore:Sparse C")
@pytest.mark.parametrize(
    "layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc]
)
def test_sparse_inputs_are_observed_and_learned_as_dense_ones(
    layout: torch.layout,
) -> None:
    x, y = batch(8)
    x = x.where(x > 0.5, 0.0)
    ended = []
    for given in (x, x.to_sparse(layout=layout)):
        model = mlp()
        optimizer = sgd(model)
        rgo = RGO(model, optimizer)
        for _ in range(2):
            rgo.begin_task()
            train(model, optimizer, [(given, y)] * 2)
            rgo.end_task([(given, y)] * 2)
        ended.append({**weights_of(model), **rgo.projector.projections})
    for name, expected in ended[0].items():
        torch.testing.assert_close(ended[1][name], expected)
