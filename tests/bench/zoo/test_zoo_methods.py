from dataclasses import replace

import pytest
import torch
from torch import nn

from rgo_bench.zoo.methods import METHODS, Learner, Protected, check_options
from rgo_bench.zoo.registry import ZOO
from rgo_bench.zoo.streams import Samples
from rgo_bench.zoo.training import learner_of
from rgo_core import Relative
from rgo_torch import RGO


def learner(method: str, **options: object) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    entry = replace(ZOO["mixer"], head="2")
    return learner_of(model, method, 0, entry, options)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_learner(method: str) -> None:
    made = learner(method)
    assert isinstance(made, Protected) == method.startswith("rgo")


def test_rgo_states_what_it_protects_and_keeps() -> None:
    made = learner("rgo")
    assert isinstance(made, Protected)
    samples = Samples(torch.randn(600, 4), torch.randint(3, (600,)))
    made.begin_task(0)
    made.end_task(samples)
    facts = made.facts()
    assert facts["protected"] == 100.0
    # A moment (8 bytes an entry) and a projection (4) for every weight and bias.
    assert facts["state_bytes"] >= 12 * (4**2 + 8**2)


def test_plain_states_nothing() -> None:
    made = learner("plain")
    assert not isinstance(made, Protected)
    assert made.facts() == {}


def test_the_unencoded_variant_encodes_nothing() -> None:
    made = learner("rgo-unencoded")
    assert isinstance(made, Protected)
    assert made.rgo.encoder is None


def test_options_go_to_rgo() -> None:
    made = learner("rgo", damping=0.5, relative=True)
    assert isinstance(made, Protected)
    assert made.rgo.damping == Relative(0.5)


def test_an_option_that_rgo_has_not_is_refused() -> None:
    check_options({"damping": 0.1, "encode": False})
    with pytest.raises(ValueError, match=r"expected options of RGO, .*, got x"):
        check_options({"x": 1})


def test_the_library_is_the_one_measured() -> None:
    assert RGO.__module__.startswith("rgo_torch")
