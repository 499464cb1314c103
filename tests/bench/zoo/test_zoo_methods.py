import pytest
import torch
from torch import nn

from rgo_bench.zoo.methods import METHODS, Protected, check_options, make_learner
from rgo_bench.zoo.registry import ZOO
from rgo_bench.zoo.streams import Samples
from rgo_core import Relative
from rgo_torch import RGO


def learner_of(method: str, **options: object) -> tuple[nn.Module, object]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters())
    entry = ZOO["mixer"]
    return model, make_learner(method, model, optimizer, entry, 0, options)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_learner(method: str) -> None:
    _, learner = learner_of(method)
    assert isinstance(learner, Protected) == method.startswith("rgo")


def test_rgo_states_what_it_protects_and_keeps() -> None:
    _, learner = learner_of("rgo")
    assert isinstance(learner, Protected)
    samples = Samples(torch.randn(600, 4), torch.randint(3, (600,)))
    learner.begin_task(0)
    learner.end_task(samples)
    facts = learner.facts()
    assert facts["protected"] == 100.0
    # A moment (8 bytes an entry) and a projection (4) for every weight and bias.
    assert facts["state_bytes"] >= 12 * (4**2 + 8**2)


def test_plain_states_nothing() -> None:
    _, learner = learner_of("plain")
    assert not isinstance(learner, Protected)
    assert learner.facts() == {}


def test_the_unencoded_variant_encodes_nothing() -> None:
    _, learner = learner_of("rgo-unencoded")
    assert isinstance(learner, Protected)
    assert learner.rgo.encoder is None


def test_options_go_to_rgo() -> None:
    _, learner = learner_of("rgo", damping=0.5, relative=True)
    assert isinstance(learner, Protected)
    assert learner.rgo.damping == Relative(0.5)


def test_an_option_that_rgo_has_not_is_refused() -> None:
    check_options({"damping": 0.1, "encode": False})
    with pytest.raises(ValueError, match=r"expected options of RGO, .*, got x"):
        check_options({"x": 1})


def test_the_library_is_the_one_measured() -> None:
    assert RGO.__module__.startswith("rgo_torch")
