"""Layers that take or give out nested tensors, of sequences of other lengths."""

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import CLASSES, FEATURES, batch
from torch_backend.observed_kinds import normal
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments
from rgo_torch.observation.score import cross_entropy_score


class Ragged(nn.Module):
    """Takes sequences of other lengths as one nested tensor, or as so many tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(FEATURES, 5), nn.LayerNorm(5)
        self.head = nn.Linear(5, CLASSES)
        self.nests = True

    def forward(self, x: Tensor) -> Tensor:
        rows = [each[: 1 + place % 3] for place, each in enumerate(x)]
        if not self.nests:
            return self.head(torch.stack([self.within(row).mean(0) for row in rows]))
        made = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        found = self.within(made).unbind()
        return self.head(torch.stack([row.mean(0) for row in found]))

    def within(self, x: Tensor) -> Tensor:
        return self.norm(self.first(x)).relu()


def test_a_nested_tensor_is_observed_as_its_sequences_are() -> None:
    model, (x, y) = Ragged().double(), batch()
    x = x.double()
    data = (torch.stack([x, x.sin(), x.cos()], 1), y)
    found = second_moments(model, [data], reduce="rms")
    model.nests = False
    scores = cross_entropy_score("ground-truth", None)(model, data)
    weight = model.first.weight
    grads = [torch.autograd.grad(s, weight, retain_graph=True)[0] for s in scores[0]]
    expected = sum(g.T @ g for g in grads) / len(weight)
    assert_near(found["first.weight"].matrix, expected)
    assert found.keys() == dict(model.named_parameters()).keys()


class Nests(nn.Module):
    """Scales sequences and gives them out as one nested tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        rows = [each[: 1 + place % 3] * self.scale for place, each in enumerate(x)]
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


class Unnests(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return self[1](torch.stack([row.mean(0) for row in self[0](x).unbind()]))


def test_a_nested_tensor_that_a_layer_of_ones_own_makes_is_observed() -> None:
    model = Unnests(Nests(), nn.Linear(FEATURES, CLASSES)).double()
    data = (normal(4, 3, FEATURES), torch.tensor([0, 1, 2, 0]))
    found = second_moments(model, [data], per="batch")["0.scale"]
    score = cross_entropy_score("ground-truth", None)(model, data).sum()
    (gradient,) = torch.autograd.grad(score, model[0].scale)
    assert_near(found.diagonal, gradient**2)


class Takes(nn.Module):
    """Takes sequences as one nested tensor, or as one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = self.first(x).relu()
        if features.is_nested:
            features = features.to_padded_tensor(0.0)
        return self.head(features.sum(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_sequences_may_come_nested_and_be_cut(layout: torch.layout) -> None:
    torch.manual_seed(0)
    model = Takes().double()
    rows = [normal(1 + place, FEATURES) for place in range(4)]
    labels = torch.tensor([0, 1, 2, 0])
    nested = (torch.nested.nested_tensor(rows, layout=layout), labels)
    alone = [(row[None], label[None]) for row, label in zip(rows, labels, strict=True)]
    expected = second_moments(model, alone * 2, reduce="rms")
    for chunk_size in (None, 3):
        found = second_moments(model, [nested] * 2, reduce="rms", chunk_size=chunk_size)
        for name, moment in expected.items():
            assert_near(found[name].matrix, moment.matrix)
