"""Complex parameters: their real and imaginary parts are entries like others."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.tolerance import assert_far, assert_near

import rgo_core
from rgo_torch import RGO, Axes, find_layout, second_moments

COMPLEX = torch.complex128
CLASSES, LENGTH, WIDTH = 3, 8, 4


def drawn(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, dtype=COMPLEX) / 2)


class Spectral(nn.Module):
    """Mixes channels, each frequency by a matrix of its own, as neural operators do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = drawn(LENGTH // 2 + 1, WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=1)
        mixed = torch.einsum("bki,kio->bko", spectrum, self.weight)
        return torch.fft.irfft(mixed, n=LENGTH, dim=1)


class StateSpace(nn.Module):
    """Decays with complex rates entry by entry, as diagonal state spaces do."""

    def __init__(self) -> None:
        super().__init__()
        self.rates, self.skip = drawn(WIDTH), nn.Parameter(torch.ones(WIDTH).double())

    def forward(self, x: Tensor) -> Tensor:
        time = torch.arange(LENGTH, dtype=torch.float64)[:, None]
        kernel = torch.exp(-self.rates.abs() * time) * torch.exp(1j * self.rates * time)
        return (x * kernel.real).cumsum(1) + self.skip * x


class Magnitude(nn.Module):
    """A complex linear layer with its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH, dtype=COMPLEX)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.to(COMPLEX)).abs()


class Net(nn.Module):
    def __init__(self, part: type[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lift = nn.Linear(1, WIDTH).double()
        self.part = part()
        self.head = nn.Linear(WIDTH, CLASSES).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.part(self.lift(x[..., None]))).mean(1))


def batch(seed: int = 0, size: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(size, LENGTH, generator=draw, dtype=torch.float64)
    return x, torch.randint(CLASSES, (size,), generator=draw)


def score(model: nn.Module, given: Any) -> Tensor:
    x, y = given
    return model(x).gather(1, y[:, None])[:, 0]


def real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def expected(model: nn.Module, name: str, given: Any, axes: Axes) -> Tensor:
    """Sum over samples what single gradients give, seen as real numbers."""
    total: Any = 0
    for one in score(model, given):
        (gradient,) = torch.autograd.grad(
            one, model.get_parameter(name), retain_graph=True
        )
        rows = rgo_core.to_rows(real(gradient), axes, leading=0)
        squares = rows.square() if axes.diagonal else rows.mT @ rows
        total = total + squares / rows.shape[-2]
    return total


@pytest.mark.parametrize(
    ("part", "name", "axes"),
    [
        (Spectral, "weight", Axes((1, 3), outputs=(2,), groups=(0,))),
        (StateSpace, "rates", Axes((0, 1), diagonal=True)),
        (StateSpace, "skip", Axes((0,), diagonal=True)),
        (Magnitude, "mix.weight", Axes((1, 2), outputs=(0,))),
        (Magnitude, "mix.bias", Axes((0, 1))),
    ],
)
def test_both_parts_of_an_input_are_inputs(
    part: type[nn.Module], name: str, axes: Axes
) -> None:
    model, given, name = Net(part), batch(), f"part.{name}"
    layout = find_layout(model)
    assert not layout.skipped
    found = {
        f"{at.name}.{own}": a for at in layout.layers for own, a in at.axes.items()
    }
    assert found[name] == axes
    moment = second_moments(model, [given], score=score, reduce="rms")[name]
    kept = moment.diagonal[None] if axes.diagonal else moment.matrix
    assert_near(kept, expected(model, name, given, axes), amplification=1e3)
    assert kept.abs().max() > 0


@pytest.mark.parametrize("project", ["gradient", "update"])
@pytest.mark.parametrize("part", [Spectral, StateSpace, Magnitude])
def test_a_complex_step_is_projected_part_by_part(part: Any, project: Any) -> None:
    model = Net(part)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rgo = RGO(model, optimizer, project=project, damping=1e-3, seed=0)
    rgo.begin_task(0)
    rgo.end_task([batch()])
    rgo.begin_task(1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        functional.cross_entropy(model(batch(1)[0]), batch(1)[1]).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    with rgo.projector.paused():
        plain = gradients()
    gradients()
    optimizer.step()
    for name, parameter in model.named_parameters():
        if not parameter.is_complex():
            continue
        moved = real(before[name] - parameter.detach())
        own = rgo.projector.parameters[name]
        rows = rgo_core.to_rows(real(plain[name]), own.axes, leading=0)
        P = rgo.projector.projections[name]
        found = rgo_core.to_rows(moved, own.axes, leading=0)
        assert_near(found, rgo_core.project(P, rows, axis=-1), amplification=1e4)
        assert_far(moved, real(plain[name]))


def test_a_complex_network_learns_a_second_task_and_goes_on_from_its_state() -> None:
    model = Net(Spectral)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rgo = RGO(model, optimizer, seed=0)
    for task in range(2):
        rgo.begin_task(task)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(batch(task)[0]), batch(task)[1]).backward()
            optimizer.step()
        rgo.end_task([batch(task)])
    again = Net(Spectral)
    again.load_state_dict(model.state_dict())
    other = RGO(again, torch.optim.AdamW(again.parameters(), lr=1e-2), seed=0)
    other.load_state_dict(rgo.state_dict())
    assert rgo.summary().startswith("100.0 %")
    with rgo.task(1), other.task(1):
        assert torch.equal(model(batch()[0]), again(batch()[0]))


def test_axes_of_a_complex_parameter_are_those_of_itself() -> None:
    one = Axes(inputs=(2,), outputs=(1,), groups=(0,))
    layout = find_layout(Net(Spectral), {"part.weight": one})
    (axes,) = (at.axes["weight"] for at in layout.layers if at.name == "part")
    assert axes == Axes(inputs=(2, 3), outputs=(1,), groups=(0,))
    by_frequency = Axes(inputs=(0,), outputs=(1,), shape=(5, 16))
    layout = find_layout(Net(Spectral), {"part.weight": by_frequency})
    (axes,) = (at.axes["weight"] for at in layout.layers if at.name == "part")
    assert axes == Axes(inputs=(0, 2), outputs=(1,), shape=(5, 16, 2))
