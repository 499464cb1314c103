"""What a model says of an old sample stays, where all that it gave was closed.

With a damping near zero P closes the span of what a layer took in, so that whatever a
later task learns, ``(W + D^T X P) x = W x`` for every old x: the outputs stay to the
rounding, in whole models, whatever an optimizer does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_torch import RGO, Relative, second_moments

SAMPLES, TIMES, WIDTH, CLASSES = 2, 5, 24, 4


class Pooled(nn.Module):
    """A head over the mean of what a body makes of a sequence."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found = self.body(x)
        found = found[0] if isinstance(found, tuple) else found
        return self.head(functional.relu(found).mean(1))


class OwnForward(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class OwnHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(4, 4, WIDTH, WIDTH // 4) / WIDTH**0.5
        self.q, self.k, self.v, self.out = (nn.Parameter(each) for each in drawn)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            torch.einsum("bnd,hdk->bhnk", x, w) for w in (self.q, self.k, self.v)
        )
        seen = (q @ k.mT).softmax(-1) @ v
        return torch.einsum("bhnk,hdk->bnd", seen, self.out)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x)[0]


class StepByStep(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state, states = None, []
        for now in x.unbind(1):
            state = self.cell(now, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states, 1)


class Again(nn.Module):
    """A layer that is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return x


class Mixer(nn.Module):
    """A layer over tokens, and one over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.norm = nn.Linear(TIMES, TIMES), nn.LayerNorm(WIDTH)
        self.channels = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm(x).mT).mT
        return x + self.channels(x)


class Routed(nn.Module):
    """Experts that each see the tokens that a router sends them."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 3)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        weights, sent = self.router(tokens).softmax(-1).max(-1)
        found = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            own = sent == number
            if own.any():
                found[own] = weights[own, None] * expert(tokens[own])
        return (tokens + found).view_as(x)


def recurrent(kind: type[nn.RNNBase], **options: Any) -> nn.Module:
    return kind(WIDTH, WIDTH, batch_first=True, **options)


BODIES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(
        nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, WIDTH)
    ),
    "its own forward": lambda: OwnForward(WIDTH, WIDTH),
    "own heads": OwnHeads,
    "attention": SelfAttention,
    "encoder": lambda: nn.TransformerEncoderLayer(WIDTH, 4, 32, batch_first=True),
    "gru": partial(recurrent, nn.GRU),
    "lstm of two layers": partial(recurrent, nn.LSTM, num_layers=2),
    "cells": lambda: StepByStep(nn.LSTMCell(WIDTH, WIDTH)),
    "called again": Again,
    "mixer": Mixer,
    "experts": Routed,
}


def batch(samples: int, seed: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(CLASSES, (samples,), generator=generator)


def fresh(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a model in float64 without dropout, its biases frozen.

    A bias has one direction for each output, of which a sample's gradient closes one.
    """
    torch.manual_seed(0)
    model = make().double().eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("bias" not in name)
    return model


def parameters_of(model: nn.Module) -> Tensor:
    free = [p.detach().flatten() for p in model.parameters() if p.requires_grad]
    return torch.cat(free).clone()


@contextmanager
def looking_back(rgo: RGO | None) -> Iterator[None]:
    with torch.no_grad():
        if rgo is None:
            yield
        else:
            with rgo.task(0):
                yield


def moves(
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    protected: dict[str, Any] | None,
) -> tuple[float, float]:
    """Learn a second task; how far the first's outputs moved, and the parameters."""
    model, rgo = fresh(make), None
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.01
    )
    old, new = batch(SAMPLES, 1, shape), batch(12, 2, shape)
    if protected is not None:
        rgo = RGO(model, optimizer, damping=Relative(1e-12), **protected)
        rgo.begin_task(0)
        rgo.end_task([old])
        rgo.begin_task(1)
    with looking_back(rgo):
        before = model(old[0])
    start = parameters_of(model)
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(new[0]), new[1]).backward()
        optimizer.step()
    with looking_back(rgo):
        moved = float((model(old[0]) - before).norm())
    return moved, float((parameters_of(model) - start).norm())


def assert_nothing_moves(
    make: Callable[[], nn.Module], shape: tuple[int, ...], **options: Any
) -> None:
    plain, length = moves(make, shape, None)
    ours, own_length = moves(make, shape, options)
    assert plain > 1e-2
    assert own_length > length / 10
    assert ours < 1e-6 * plain


@pytest.mark.parametrize("encode", [False, True], ids=["in order", "encoded"])
@pytest.mark.parametrize("body", BODIES)
def test_by_default_with_an_adaptive_optimizer(body: str, encode: bool) -> None:
    def make() -> nn.Module:
        return Pooled(BODIES[body]())

    assert_nothing_moves(make, (TIMES, WIDTH), encode=encode)


class Patches(nn.Module):
    """A head over what two blocks of a vision transformer make of patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 3, stride=3)
        self.places = nn.Parameter(torch.randn(4, WIDTH))
        block = nn.TransformerEncoderLayer(
            WIDTH, 4, 32, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 2, nn.LayerNorm(WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT + self.places
        return self.head(self.blocks(tokens).mean(1))


@pytest.mark.parametrize("encode", [False, True], ids=["in order", "encoded"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_of_a_vision_transformer_whose_patches_do_not_overlap(encode: bool) -> None:
    assert_nothing_moves(Patches, (3, 6, 6), encode=encode)


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "strides": lambda: nn.Sequential(
        *(nn.Conv2d(3, 12, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    ),
    "groups": lambda: nn.Sequential(
        *(nn.Conv2d(6, 12, 3, groups=2, stride=2), nn.GroupNorm(3, 12), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(48, 4)),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_in_convolutions_with_a_vector_for_each_position(name: str) -> None:
    shape = (3 if name == "strides" else 6, 6, 6)
    observe = partial(second_moments, per="position")
    assert_nothing_moves(CONVOLUTIONS[name], shape, observe=observe, encode=False)
