"""What a class of one's own multiplies by has inputs and outputs, as a Linear has."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch_backend.nets import CLASSES, FEATURES, batch, sgd
from torch_backend.tolerance import assert_near

from rgo_torch import RGO, Axes, FeatureEncoder, find_layout, second_moments

IN_OUT, OUT_IN = Axes(inputs=(0,), outputs=(1,)), Axes(inputs=(1,), outputs=(0,))


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / shape[-1])


class Own(nn.Module):
    """Has what each of the classes below uses in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = weight(3, 4), weight(3, 4)
        self.listed = nn.ParameterList([weight(3, 3), weight(3, 3)])
        self.experts = weight(2, 3, 4)
        self.register_buffer("mask", torch.ones(3, 4))


class Right(Own):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.a


class Left(Own):
    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(self.a, x)


class Turned(Own):
    def forward(self, x: Tensor) -> Tensor:
        return x.matmul(self.a.float().transpose(0, 1))


class Linear(Own):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, weight=self.a * self.mask)


class Noisy(Own):
    def forward(self, x: Tensor) -> Tensor:
        w = self.a + functional.softplus(self.b) * self.mask
        return functional.linear(x, w, None)


class LowRank(Own):
    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(x, x, self.b.T @ self.a)


class Lettered(Own):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,bj,ir,jr->br", x, x, self.a, self.b)


class InTurn(Own):
    def forward(self, x: Tensor) -> Tensor:
        for place, w in enumerate(self.listed):
            x = x @ w if place else (x @ w).relu()
        q, k = (x @ w for w in (self.a, self.b))
        return q + k


class Chosen(Own):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.listed[0] @ self.experts[1]


IN_EACH = Axes(inputs=(1,), outputs=(2,), groups=(0,))
READ: dict[type[Own], dict[str, Axes]] = {
    Right: {"a": IN_OUT},
    Left: {"a": OUT_IN},
    Turned: {"a": OUT_IN},
    Linear: {"a": OUT_IN},
    Noisy: {"a": OUT_IN, "b": OUT_IN},
    LowRank: {"a": IN_OUT, "b": OUT_IN},
    Lettered: {"a": IN_OUT, "b": IN_OUT},
    InTurn: dict.fromkeys(("a", "b", "listed.0", "listed.1"), IN_OUT),
    Chosen: {"listed.0": IN_OUT, "listed.1": IN_OUT, "experts": IN_EACH},
}


def axes_of(module: nn.Module) -> dict[str, Axes]:
    layers = find_layout(module).layers
    return {own: axes for layer in layers for own, axes in layer.axes.items()}


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.__name__)
def test_what_is_multiplied_by_has_the_axes_of_the_product(kind: type[Own]) -> None:
    found = axes_of(kind())
    assert {own: axes for own, axes in found.items() if not axes.diagonal} == READ[kind]
    assert len(found) == len(list(kind().parameters()))


class Apart(Own):
    """None of what it does with them makes a matrix of inputs and outputs."""

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        rows = self.a[ids] @ x + (x + self.b) @ x.mT
        return rows + self.embed(self.experts) @ x

    def embed(self, experts: Tensor) -> Tensor:
        return experts


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = weight(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(x, self.kernel, groups=2)


class Sliding(Grouped):
    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(x, self.kernel, None, 2)


@pytest.mark.parametrize("kind", [Apart, Grouped])
def test_what_is_looked_up_or_added_acts_entry_by_entry(
    kind: type[nn.Module],
) -> None:
    assert all(axes.diagonal for axes in axes_of(kind()).values())


def test_a_kernel_of_ones_own_has_inputs_at_all_places() -> None:
    assert axes_of(Sliding()) == {"kernel": Axes(inputs=(1, 2), outputs=(0,))}


def test_a_class_without_source_acts_entry_by_entry() -> None:
    scope: dict[str, type[Own]] = {}
    source = "class Typed(Own):\n    def forward(self, x):\n        return x @ self.a\n"
    exec(source, {"Own": Own, "__name__": __name__}, scope)
    assert axes_of(scope["Typed"]())["a"].diagonal


def test_a_subclass_of_a_known_layer_is_read_for_what_it_adds() -> None:
    class Sum(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.more = weight(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x @ self.more

    assert axes_of(Sum()) == {
        "weight": OUT_IN,
        "bias": Axes(inputs=(0,)),
        "more": IN_OUT,
    }


class OtherWay(nn.Linear):
    """A weight of PyTorch's shape, by which its own forward multiplies as by (n, m)."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * functional.linear(x, self.weight, self.bias)


@pytest.mark.parametrize(("kind", "axes"), [(OtherWay, IN_OUT), (Scaled, OUT_IN)])
def test_a_subclass_is_read_for_which_way_round_it_multiplies(
    kind: type[nn.Linear], axes: Axes
) -> None:
    assert axes_of(kind(4, 4))["weight"] == axes
    model = nn.Sequential(kind(4, 3, bias=False), nn.Linear(4, 2))
    if kind is OtherWay:
        FeatureEncoder(model, seed=0).set_task(1)  # it gives out 4 channels, not 3
        assert model(torch.randn(2, 3)).shape == (2, 2)


class OwnLinear(nn.Module):
    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        self.matrix = nn.Parameter(like.weight.detach().T.clone())
        self.bias = nn.Parameter(like.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix + self.bias


def both() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    first, last = nn.Linear(FEATURES, 5).double(), nn.Linear(5, CLASSES).double()
    make: Callable[..., nn.Module] = nn.Sequential
    own = make(OwnLinear(first), nn.ReLU(), OwnLinear(last))
    return make(first, nn.ReLU(), last), own


def test_a_matrix_of_ones_own_is_observed_as_that_of_a_linear_layer() -> None:
    linear, own = both()
    x, y = batch(12)
    x = x.double()
    expected = second_moments(linear, [(x, y)], reduce="rms")
    found = second_moments(own, [(x, y)], reduce="rms")
    for place in "02":
        a, b = expected[f"{place}.weight"], found[f"{place}.matrix"]
        assert_near(a.matrix, b.matrix)


def test_a_list_of_parameters_belongs_to_the_module_that_uses_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ws = nn.ParameterList([weight(FEATURES, 5), weight(5, CLASSES)])
            self.scales = nn.ParameterDict({"one": nn.Parameter(torch.ones(5))})

        def forward(self, x: Tensor) -> Tensor:
            first, last = self.ws
            return ((x @ first) * self.scales["one"]).relu() @ last

    model = nn.Sequential(Net())
    rgo = RGO(model, sgd(model), encode=False)  # warns of nothing else
    rgo.begin_task(0)
    rgo.end_task([batch(12)])
    assert rgo.projector.protected_share == 1
    assert set(rgo.projector.projections) == {"0.ws.0", "0.ws.1", "0.scales.one"}


class Read(nn.Module):
    """Multiplies by a matrix, and adds one of its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.matrices = weight(3, 3), weight(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.matrices[: len(x)].sum()) @ self.matrix


@pytest.mark.parametrize(
    ("change", "original"),
    [
        (parametrizations.spectral_norm, "parametrizations.matrix.original"),
        (parametrizations.weight_norm, "parametrizations.matrix.original1"),
        (
            lambda module, name: prune.random_unstructured(module, name, 0.5),
            "matrix_orig",
        ),
    ],
)
def test_what_a_matrix_is_computed_from_has_its_axes(
    change: Callable, original: str
) -> None:
    model = nn.Sequential(change(Read(), "matrix"), nn.Linear(3, 2))
    found = {
        f"{layer.name}.{own}": axes
        for layer in find_layout(model).layers
        for own, axes in layer.axes.items()
    }
    assert found[f"0.{original}"] == IN_OUT
    assert found["0.matrices"] != IN_OUT
    assert FeatureEncoder(model).widths == {"0": 3}
