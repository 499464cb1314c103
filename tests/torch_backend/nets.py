"""Tiny networks and batches, each a function of its seed."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES, CLASSES = 12, 4
Batch = tuple[Tensor, Tensor]


def mlp(seed: int = 0, *, inplace: bool = False) -> nn.Sequential:
    """Return the MLP 12-8-8-4."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(FEATURES, 8),
        nn.ReLU(inplace),
        nn.Linear(8, 8),
        nn.ReLU(inplace),
        nn.Linear(8, CLASSES),
    )


def wide_mlp(seed: int = 0) -> nn.Sequential:
    """Return an MLP 12-40-40-4, whose factors pay up to a batch of nine."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(FEATURES, 40),
        nn.ReLU(),
        nn.Linear(40, 40),
        nn.ReLU(),
        nn.Linear(40, CLASSES),
    )


class Given(nn.Module):
    """Returns logits that were computed before."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, _: Tensor) -> Tensor:
        return self.logits


def conv_net(seed: int = 0, *, inplace: bool = False) -> nn.Sequential:
    """Return two convolutions and a head, for images of 3 x 4 x 4."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace),
        nn.Conv2d(6, 24, 2, stride=2),
        nn.ReLU(inplace),
        nn.Flatten(),
        nn.Linear(96, CLASSES),
    )


def batch(size: int = 16, seed: int = 0, features: int = FEATURES) -> Batch:
    """Return random inputs and labels."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x = torch.randn(size, features, generator=generator)
    return x, torch.randint(CLASSES, (size,), generator=generator)


def images(size: int = 5, seed: int = 0) -> Batch:
    """Return random images and labels for `conv_net`."""
    x, y = batch(size, seed, 48)
    return x.reshape(size, 3, 4, 4), y


def batches(count: int = 3, size: int = 16, seed: int = 0) -> list[Batch]:
    """Return several batches."""
    return [batch(size, seed + 10 * i) for i in range(count)]


def sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    """Return SGD at a learning rate of 0.1."""
    return torch.optim.SGD(model.parameters(), **({"lr": 0.1} | options))


def loss_of(model: Callable[..., Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy."""
    return functional.cross_entropy(model(x), y)


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: list[Batch]
) -> None:
    """Take one step a batch."""
    for x, y in steps:
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        optimizer.step()


def gradients_of(model: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return the gradients that a loss leaves in the parameters."""
    model.zero_grad()
    loss().backward()
    found = [(n, p.grad) for n, p in model.named_parameters()]
    return {name: grad.clone() for name, grad in found if grad is not None}


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of a model's parameters."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same(first: Any, second: Any) -> None:
    """Demand that two trees of dicts, lists and tensors are equal to the bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    elif isinstance(first, Tensor):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    else:
        assert first == second


def plain_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model without any hooks."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        module._forward_hooks.clear()
    return copied


def hooks_of(model: nn.Module) -> Iterator[object]:
    """Yield every hook on a model's modules and parameters."""
    for module in model.modules():
        yield from module._forward_hooks.values()
        yield from module._forward_pre_hooks.values()
    for parameter in model.parameters():
        yield from (parameter._backward_hooks or {}).values()


def compiled(model: nn.Module) -> nn.Module:
    """Compile a model without generating code, which would take long."""
    return torch.compile(model, backend="eager")


class Count:
    """A compiler that runs the graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        self.graphs += 1
        return graph.forward
