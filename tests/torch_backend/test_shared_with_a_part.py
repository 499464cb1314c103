"""A parameter that a module shares with a part of its own is observed once."""

import pytest
import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch_backend.nets import batches

import rgo_core
from rgo_torch import label_score, second_moments


class Head(nn.Module):
    """As BERT's: its bias is that of the linear layer in it."""

    def __init__(self, *, own_use: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.own_use = own_use
        self.dense, self.decoder = nn.Linear(5, 5), nn.Linear(5, 4)
        self.bias = nn.Parameter(torch.randn(4))
        self.decoder.bias = self.bias

    def forward(self, x: Tensor) -> Tensor:
        logits = self.decoder(torch.tanh(self.dense(x)))
        return logits * self.bias if self.own_use else logits


class Model(nn.Module):
    def __init__(self, *, own_use: bool) -> None:
        super().__init__()
        self.head = Head(own_use=own_use)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


@pytest.mark.filterwarnings("ignore:.*used without a call of the module")
@pytest.mark.filterwarnings("ignore:.*does not tell their gradient")  # its layer's
@pytest.mark.parametrize("own_use", [False, True])
def test_a_bias_that_a_module_shares_with_its_part_counts_once(own_use: bool) -> None:
    model = Model(own_use=own_use).double()
    (x, y), *_ = batches(1)
    x = x[:, :5].double()
    found = second_moments(model, [(x, y)])
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for i in range(len(x)):
        score = label_score(model(x[i : i + 1]), y[i : i + 1]).sum()
        (g,) = torch.autograd.grad(score, model.head.bias)
        expected += torch.outer(g, g)
    torch.testing.assert_close(found["head.bias"].matrix, expected)
    assert rgo_core.consolidate(found["head.bias"], 0.1, xp=xp).isfinite().all()
