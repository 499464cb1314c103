"""Every parameter of a model has a layout, or a reason why it has none."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch_backend.nets import compiled, conv_net, hooks_of, mlp, sgd

import rgo_core
from rgo_torch import RGO, Axes, Channels, find_layout, register_layout
from rgo_torch.layers.kinds import KINDS
from rgo_torch.modules.wrappers import is_compiled, original_model


def test_layers_come_with_their_names_and_channels() -> None:
    layers, skipped = find_layout(conv_net())
    found = [(layer.name, layer.channels) for layer in layers]
    assert found == [("0", (6, -3)), ("2", (24, -3)), ("5", (4, -1))]
    assert not skipped


def axes_of(model: nn.Module) -> dict[str, Axes]:
    return {
        layer.full_name(own): axes
        for layer in find_layout(model).layers
        for own, axes in layer.axes.items()
        if layer.parameter(own) is not None
    }


MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 3),
    "bilinear": lambda: nn.Bilinear(2, 3, 4),
    "conv1d": lambda: nn.Conv1d(4, 6, 3, groups=2),
    "conv3d": lambda: nn.Conv3d(2, 3, 2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
    "embedding": lambda: nn.Embedding(3, 4),
    "bag": lambda: nn.EmbeddingBag(3, 4),
    "attention": lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
    "cross": lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
    "lstm": lambda: nn.LSTM(3, 4, proj_size=2, bidirectional=True),
    "cell": lambda: nn.GRUCell(3, 4),
    "layer_norm": lambda: nn.LayerNorm((2, 3)),
    "rms_norm": lambda: nn.RMSNorm(3),
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "batch_norm": lambda: nn.BatchNorm2d(3),
    "prelu": nn.PReLU,
    "spectral": lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Conv2d(2, 4, 3, groups=2)),
    "pruned": lambda: prune.random_unstructured(nn.Linear(3, 4), "weight", amount=1),
}


@pytest.mark.parametrize("name", MODULES)
def test_every_parameter_of_pytorchs_modules_has_axes_that_fit(name: str) -> None:
    module = MODULES[name]()
    found = axes_of(module)
    assert set(found) == {own for own, _ in module.named_parameters()}
    for own, p in module.named_parameters():
        rgo_core.check_axes_fit(own, found[own], tuple(p.shape))


def test_known_modules_have_the_axes_of_their_products() -> None:
    model = nn.ModuleDict({name: make() for name, make in MODULES.items()})
    found = axes_of(model)
    dense, vector = Axes(inputs=(1,), outputs=(0,)), Axes(inputs=(0,))
    assert found["linear.weight"] == dense
    assert found["linear.bias"] == vector
    assert found["bilinear.weight"] == Axes(inputs=(1, 2), outputs=(0,))
    assert found["conv1d.weight"] == Axes((2, 3), (1,), (0,), shape=(2, 3, 2, 3))
    assert found["conv3d.weight"] == Axes(inputs=(1, 2, 3, 4), outputs=(0,))
    assert found["transposed.weight"] == Axes(
        (1, 3, 4), (2,), (0,), shape=(2, 2, 3, 3, 3)
    )
    table = Axes(inputs=(0,), outputs=(1,), diagonal=True)
    assert found["embedding.weight"] == found["bag.weight"] == table
    assert found["attention.in_proj_weight"] == Axes((2,), (1,), (0,), shape=(3, 4, 4))
    assert found["attention.in_proj_bias"] == Axes((1,), (), (0,), shape=(3, 4))
    assert found["attention.out_proj.weight"] == found["cross.k_proj_weight"] == dense
    assert found["lstm.weight_hr_l0_reverse"] == found["cell.weight_hh"] == dense
    assert found["layer_norm.weight"] == Axes(inputs=(0, 1), diagonal=True)
    assert found["batch_norm.bias"] == found["prelu.weight"]
    assert found["prelu.weight"] == Axes(inputs=(0,), diagonal=True)
    assert found["spectral.parametrizations.weight.original"] == dense
    grouped = Axes((2, 3, 4), (1,), (0,), shape=(2, 2, 1, 3, 3))
    assert found["weight_norm.parametrizations.weight.original1"] == grouped
    assert found["pruned.weight_orig"] == dense


def test_experts_in_one_tensor_are_groups_whichever_way_they_lie() -> None:
    class Experts(nn.Module):
        def __init__(self, up: tuple[int, ...], down: tuple[int, ...]) -> None:
            super().__init__()
            self.gate_up_proj = nn.Parameter(torch.zeros(up))
            self.down_proj = nn.Parameter(torch.zeros(down))
            self.down_proj_bias = nn.Parameter(torch.zeros(down[:2]))

    found = axes_of(Experts((2, 6, 5), (2, 5, 3)))
    assert found["gate_up_proj"] == Axes((2,), (1,), (0,)) == found["down_proj"]
    assert found["down_proj_bias"] == Axes((1,), (), (0,))
    found = axes_of(Experts((2, 5, 6), (2, 3, 5)))
    assert found["gate_up_proj"] == Axes((1,), (2,), (0,)) == found["down_proj"]


def test_parameters_of_an_unknown_module_act_entry_by_entry() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 2))
            self.scale = nn.Parameter(torch.tensor(1.0))

    assert axes_of(Own()) == {
        "token": Axes(inputs=(0, 1), diagonal=True),
        "scale": Axes(inputs=(), diagonal=True),
    }


def test_a_subclass_of_a_known_module_keeps_its_axes_and_adds_its_own() -> None:
    class Shifted(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.shift = nn.Parameter(torch.zeros(2))

    assert list(axes_of(Shifted())) == ["weight", "bias", "shift"]


def test_a_layer_of_integers_is_left_with_the_reason() -> None:
    module = nn.Linear(3, 3)
    module.weight = nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    layers, skipped = find_layout(module)
    assert not layers
    reason = "of Linear with parameters of torch.int8"
    assert skipped == [("weight", reason), ("bias", reason)]


def test_a_recurrent_layer_whose_weights_are_computed_is_left_with_the_reason() -> None:
    module = nn.LSTM(3, 4)
    parametrizations.weight_norm(module, "weight_hh_l0")
    layers, skipped = find_layout(module)
    assert not layers
    assert {why.partition(" whose ")[2] for _, why in skipped} == {
        "weights are computed"
    }


def test_what_a_user_says_of_a_parameter_stands() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    entries = Axes(inputs=(0, 1), diagonal=True)
    layers, skipped = find_layout(model, {"0.weight": entries, "1.bias": None})
    found = {x.full_name(own): axes for x in layers for own, axes in x.axes.items()}
    assert found["0.weight"] == entries
    assert found["0.bias"] == Axes(inputs=(0,))
    assert skipped == [("1.bias", "left unprotected as asked")]


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            {"2.weight": None},
            ValueError,
            r"name parameters of the model, got \['2.weig",
        ),
        ({"0.weight": (0,)}, TypeError, r"layout\['0.weight'\] must be Axes or None, "),
        ({"0.weight": Axes((0,))}, ValueError, "0.weight: inputs, outputs and groups"),
        (
            {"0.weight": Axes((0,), shape=(5,))},
            ValueError,
            "0.weight: expected axes with a shape of 6 entries",
        ),
    ],
)
def test_a_layout_that_does_not_fit_is_refused_and_nothing_is_attached(
    overrides: dict, error: type[Exception], message: str
) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    with pytest.raises(error, match=message):
        find_layout(model, overrides)
    with pytest.raises(error, match=message):
        RGO(model, sgd(model), layout=overrides)
    assert not list(hooks_of(model))


class Mix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.matrix


@pytest.mark.parametrize("kind", [Mix, f"{Mix.__module__}.{Mix.__qualname__}"])
def test_a_kind_is_registered_by_its_class_or_its_name(kind: type | str) -> None:
    axes = Axes(inputs=(0,), outputs=(1,))
    register_layout(kind, {"matrix": axes}, channels=lambda module: Channels(3))
    try:
        (layer,) = find_layout(Mix()).layers
    finally:
        del KINDS[kind]
    assert layer.axes == {"matrix": axes}
    assert layer.channels == (3, -1)


def test_what_is_no_class_of_modules_is_not_registered() -> None:
    with pytest.raises(TypeError, match=r"kind must be a class of nn.Module, or the"):
        register_layout(Mix(), {})
    with pytest.raises(TypeError, match=r"matrix: expected Axes, got \(0, 1\)"):
        register_layout(Mix, {"matrix": (0, 1)})
    assert Mix not in KINDS


def test_a_layout_that_names_no_parameter_of_its_module_is_refused() -> None:
    register_layout(Mix, {"matrx": Axes(inputs=(0,), outputs=(1,))})
    message = r"'0': the layout of Mix names \['matrx'\], expected .* \['matrix'\]"
    try:
        with pytest.raises(ValueError, match=message):
            find_layout(nn.Sequential(Mix(), nn.Linear(3, 2)))
    finally:
        del KINDS[Mix]


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is dep:DeprecationWarning")
def test_a_scripted_module_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(3, 2), torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="'1': expected a module of Python, got one"):
        find_layout(model)


def test_a_lazy_module_is_refused_until_it_has_a_shape() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(
        ValueError, match=r"module '0' \(LazyLinear\) has no shape yet, its weight"
    ):
        find_layout(model)
    model(torch.zeros(2, 3))
    assert find_layout(model).layers[0].channels == (4, -1)


def test_wrappers_do_not_change_the_names() -> None:
    model = mlp()
    names = [layer.name for layer in find_layout(model).layers]
    wrapped = compiled(nn.DataParallel(compiled(model)))
    assert original_model(wrapped) is model
    assert [layer.name for layer in find_layout(wrapped).layers] == names
    model[2] = compiled(model[2])
    assert [layer.name for layer in find_layout(model).layers] == names


def test_compiled_models_and_parts_are_recognised() -> None:
    model = mlp()
    assert not is_compiled(model)
    assert is_compiled(compiled(model))
    model[2].compile(backend="eager")
    assert is_compiled(model)
