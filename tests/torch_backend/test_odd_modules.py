"""What modules take, return and leave in gradients, beyond one tensor for another."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import (
    CLASSES,
    FEATURES,
    batch,
    gradients_of,
    loss_of,
    sgd,
)
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_core import DiagonalProjection
from rgo_torch import RGO
from rgo_torch.parameters.parameter import ProjectedParameter

Data = list[tuple[Tensor, Tensor]]


def in_second_task(model: nn.Module, data: Data, **options: Any) -> RGO:
    optimizer = options.pop("optimizer", None) or sgd(model)
    rgo = RGO(model, optimizer, **options)
    rgo.begin_task(0)
    rgo.end_task(data)
    rgo.begin_task(1)
    return rgo


class Pair(NamedTuple):
    first: Tensor
    second: int


class Returning(nn.Linear):
    """A layer that returns its output inside of something else."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__(FEATURES, 8)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(super().forward(x))


class Net(nn.Module):
    def __init__(self, wrap: Callable, find: Callable, *, keyword: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = Returning(wrap), nn.Linear(8, CLASSES)
        self.find, self.keyword = find, keyword

    def forward(self, x: Tensor) -> Tensor:
        found = self.layer(x=x) if self.keyword else self.layer(x)
        logits: Tensor = self.head(input=self.find(found).relu())
        return logits


WRAPPED: dict[str, tuple[Callable, Callable]] = {
    "tuple": (lambda y: (y, 3), lambda found: found[0]),
    "tuple of a tuple": (lambda y: ((y,), y), lambda found: found[0][0]),
    "list": (lambda y: [y], lambda found: found[0]),
    "named tuple": (lambda y: Pair(y, 3), lambda found: found.first),
    "dict": (lambda y: {"y": y, "n": 3}, lambda found: found["y"]),
    "ordered": (lambda y: OrderedDict(y=y), lambda found: found["y"]),
}


@pytest.mark.parametrize("keyword", [False, True])
@pytest.mark.parametrize("kind", WRAPPED)
def test_what_a_layer_returns_is_found_encoded_and_projected(
    kind: str, keyword: bool
) -> None:
    x, y = batch()
    plain = Net(lambda y: y, lambda found: found, keyword=False)
    model = Net(*WRAPPED[kind], keyword=keyword)
    found = []
    for net in (plain, model):
        rgo = in_second_task(net, [(x, y)])
        assert rgo.encoder.widths == {"layer": 8}
        gradients = gradients_of(net, lambda net=net: loss_of(net, x, y))
        found.append({**gradients, "logits": net(x).detach()})
    for name, expected in found[0].items():
        assert torch.equal(found[1][name], expected), name


def test_what_cannot_be_encoded_says_so() -> None:
    model = Net(lambda y: {y}, lambda found: next(iter(found)), keyword=False)
    message = "that is encoded to return a tensor, .* got a set; name it in unencoded="
    with pytest.raises(TypeError, match=message):
        in_second_task(model, [batch()])


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 4), (4, 0)])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_a_layer_without_entries_is_left_out_and_its_bias_is_not(
    inputs: int, outputs: int
) -> None:
    model = nn.Sequential(nn.Linear(inputs, outputs), nn.Linear(outputs, CLASSES))
    x, y = torch.randn(5, inputs), torch.arange(5) % CLASSES
    rgo = in_second_task(model, [(x, y)])
    assert ("0.weight", "has no entries") in rgo.projector.unprotected
    assert "1.bias" in rgo.projector.projections
    assert ("0.bias" in rgo.projector.projections) == (outputs > 0)
    assert rgo.summary().startswith("100.0 % of the parameters are protected")


class Bag(nn.Module):
    """The mean of embeddings whose gradients are sparse."""

    def __init__(self, *, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(20, 6, sparse=sparse)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.table(ids).mean(1))
        return logits


IDS = torch.arange(28).reshape(7, 4) % 15, torch.arange(7) % CLASSES


def test_a_sparse_gradient_is_projected_and_stays_sparse() -> None:
    found = []
    for sparse in (False, True):
        model = Bag(sparse=sparse)
        rgo = in_second_task(model, [IDS], damping=1e-3)
        assert rgo.projector.projections["table.weight"].diagonal.min() < 0.9
        loss_of(model, *IDS).backward()
        found.append(model.table.weight.grad)
    dense, sparse_one = found
    assert sparse_one.is_sparse
    assert_near(sparse_one.to_dense(), dense)


def test_a_sparse_gradient_of_what_is_not_kept_by_rows_is_projected_as_a_whole() -> (
    None
):
    tensor = nn.Parameter(torch.randn(4, 3))
    P = torch.eye(3) + 0.5
    axes = rgo_core.Axes(outputs=(0,), inputs=(1,))
    parameter = ProjectedParameter("x", tensor, axes)
    gradient = torch.zeros(4, 3)
    gradient[1] = 1.0
    found = parameter.projected(P, gradient.to_sparse(1))
    assert found.is_sparse
    assert torch.equal(found.to_dense(), gradient @ P)


def test_the_update_of_a_sparse_optimizer_is_projected_by_itself() -> None:
    model = Bag(sparse=True)
    optimizers = [
        torch.optim.SparseAdam(model.table.parameters(), lr=0.1),
        torch.optim.SGD(model.head.parameters(), lr=0.1),
    ]
    rgo = in_second_task(model, [IDS], optimizer=optimizers)
    assert rgo.projector.project == "update"
    P = rgo.projector.projections["table.weight"]
    assert isinstance(P, DiagonalProjection)
    before = model.table.weight.detach().clone()
    loss_of(model, *IDS).backward()
    plain = torch.optim.SparseAdam([nn.Parameter(before.clone())], lr=0.1)
    (twin,) = plain.param_groups[0]["params"]
    twin.grad = model.table.weight.grad.clone()
    plain.step()
    for optimizer in optimizers:
        optimizer.step()
    expected = before + P.diagonal[:, None] * (twin.detach() - before)
    assert_near(model.table.weight.detach(), expected)


class Padded(nn.Module):
    """A transformer with a mask of padding, which evaluates what is not padded."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.table = nn.Embedding(10, 8)
        self.body = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == 0
        tokens = self.body(self.table(ids), src_key_padding_mask=padding)
        logits: Tensor = self.head((tokens * ~padding[..., None]).sum(1))
        return logits


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_what_is_padded_is_encoded_alike_by_the_fast_path() -> None:
    model, ids = Padded(), 1 + torch.arange(30).reshape(6, 5) % 9
    ids[0, 3:], ids[2, 2:] = 0, 0
    in_second_task(model, [(ids, torch.arange(6) % CLASSES)])
    model.eval()
    slow = model(ids).detach()
    with torch.no_grad():
        assert_near(model(ids), slow, amplification=100)
    model.train()
    assert_near(model(ids).detach(), slow, amplification=100)
