"""What is computed when it is read, as by `spectral_norm`, is left as it was."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch_backend.nets import CLASSES, FEATURES, batches, sgd, train

from rgo_torch import RGO, find_layout, second_moments

Change = Callable[[nn.Module], nn.Module]


def spectral(change: Change) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        change(nn.Linear(FEATURES, 8)),
        nn.ReLU(),
        change(nn.Linear(8, 8)),
        nn.ReLU(),
        nn.Linear(8, CLASSES),
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of the older one
@pytest.mark.parametrize(
    "change", [parametrizations.spectral_norm, nn.utils.spectral_norm]
)
@pytest.mark.parametrize("options", [{"encode": False}, {}, {"normalize": "all"}])
def test_the_first_task_with_spectral_norm_is_the_plain_loop_bit_for_bit(
    change: Change, options: dict
) -> None:
    plain = spectral(change)
    model = copy.deepcopy(plain)
    rgo = RGO(model, optimizer := sgd(model), **options)
    rgo.begin_task(0)
    train(model, optimizer, batches())
    train(plain, sgd(plain), batches())
    rgo.end_task(batches())
    rgo.summary()
    found = model.state_dict()
    for name, expected in plain.state_dict().items():
        assert torch.equal(found[name], expected), name


class Read(nn.Module):
    """Counts how often what it computes is read in training mode."""

    reads = 0

    def forward(self, weight: Tensor) -> Tensor:
        Read.reads += self.training
        return weight * 1


class OfProperty(nn.Linear):
    """Computes a weight in a property."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.raw = nn.Parameter(self.weight.detach().clone())
        del self.weight

    @property
    def weight(self) -> Tensor:
        Read.reads += self.training
        return self.raw * 1


def read(module: nn.Module, *names: str) -> nn.Module:
    for name in names or ("weight",):
        parametrize.register_parametrization(module, name, Read())
    return module


def attended() -> nn.Module:
    module = read(nn.MultiheadAttention(8, 2), "in_proj_weight")
    read(module.out_proj)
    return module


READ = {
    "linear": lambda: read(nn.Linear(4, 4), "weight", "bias"),
    "bilinear": lambda: read(nn.Bilinear(4, 4, 4)),
    "convolution": lambda: nn.Sequential(
        read(nn.Conv2d(1, 4, 3)), nn.Flatten(), read(nn.Linear(16, 4))
    ),
    "transposed": lambda: read(nn.ConvTranspose2d(4, 4, 3)),
    "transposed groups": lambda: read(nn.ConvTranspose2d(4, 4, 3, groups=2)),
    "gru": lambda: read(nn.GRU(4, 4), "weight_hh_l0"),
    "cell": lambda: read(nn.GRUCell(4, 4), "weight_hh"),
    "embedding": lambda: read(nn.Embedding(4, 4)),
    "normalisation": lambda: read(nn.LayerNorm(4), "weight", "bias"),
    "attention": attended,
    "property": lambda: OfProperty(4, 4),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("encode", [True, False])
def test_nothing_that_is_computed_is_read_in_training_mode(
    kind: str, encode: bool
) -> None:
    model = nn.Sequential(READ[kind](), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].eval()
    modes = [module.training for module in model.modules()]
    Read.reads = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not protected
        rgo = RGO(model, sgd(model), encode=encode)
    rgo.summary()
    find_layout(model)
    rgo.detach()
    assert Read.reads == 0
    assert [module.training for module in model.modules()] == modes


COMPUTED = {
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 2), (6, 3, 4, 4)),
    "layer normalisation": (lambda: nn.LayerNorm(5), (6, 3, 5)),
    "batch normalisation": (lambda: nn.BatchNorm2d(3), (6, 3, 4, 4)),
}
CHANGES = {
    "parametrized": lambda module: read(module, "weight", "bias"),
    "parametrized bias": lambda module: read(module, "bias"),
    "older": lambda module: prune.random_unstructured(module, "weight", 0.5),
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("change", CHANGES)
def test_what_computes_its_weight_is_observed_by_its_gradients(
    kind: str, change: str
) -> None:
    make, shape = COMPUTED[kind]
    torch.manual_seed(0)
    model = CHANGES[change](make().double())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    x = torch.randn(shape, dtype=torch.float64)

    def score(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).square().flatten(1).sum(-1)

    found = second_moments(model, [x], score=score, reduce="rms")
    model.eval()
    for name, parameter in model.named_parameters():
        expected = 0.0
        for sample in x:
            scored = score(model, sample[None]).sum()
            (gradient,) = torch.autograd.grad(scored, parameter)
            expected += float(gradient.square().sum())
        moment = found[name]
        diagonal = (
            moment.diagonal if hasattr(moment, "diagonal") else moment.matrix.diagonal()
        )
        # The root mean square is over four outputs.
        outputs = 4 if parameter.ndim == 4 else 1
        assert float(diagonal.sum()) * outputs == pytest.approx(expected)


def test_weights_count_as_computed_where_a_parametrization_changes_nothing() -> None:
    model = nn.GRU(4, 4)
    parametrize.register_parametrization(model, "weight_hh_l0", nn.Identity())
    (reason,) = {each.reason for each in find_layout(model).skipped}
    assert reason == "of ParametrizedGRU whose weights are computed"
