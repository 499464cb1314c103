"""Without options the bench's RGO is the library's: there is one default."""

from typing import Any

import numpy as np
import pytest
import torch
from bench.short_runs import Listener

import rgo_core
import rgo_jax
import rgo_torch
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.jit import JitRun
from rgo_bench.runs.run import begin_run
from rgo_bench.runs.spec import Spec, make_spec
from rgo_bench.streams import make_stream

SHORT: dict[str, Any] = {"tasks": 1, "samples": 100, "epochs": 1}
both = pytest.mark.parametrize("network", ["mlp", "lenet-5"])
encoded_or_not = pytest.mark.parametrize("method", ["rgo", "rgo-2"])


def spec_of(method: str, network: str, backend: str = "torch") -> Spec:
    names = "split-digits", method, 0, SHORT
    return make_spec(*names, network=network, backend=backend)


def by_default(method: str, network: str) -> rgo_torch.RGO:
    """RGO on the network of a run, with nothing said but whether it encodes."""
    stream = make_stream("split-digits", seed=0, **SHORT)
    model = NETWORKS[network](stream.input_shape, stream.classes, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=stream.lr)
    if method == "rgo":
        return rgo_torch.RGO(model, optimizer)
    return rgo_torch.RGO(model, optimizer, encode=False)


@both
@encoded_or_not
def test_pytorch_s_is_that_of_the_library_and_the_configuration_says_so(
    method: str, network: str
) -> None:
    spec, expected = spec_of(method, network), by_default(method, network)
    running: Any = begin_run(spec)
    found = running.method.rgo
    assert found.damping == expected.damping
    assert found.projector.normalize == expected.projector.normalize
    assert found.projector.project == expected.projector.project
    assert (found.encoder is None) == (expected.encoder is None)
    if expected.encoder is not None:
        assert found.encoder.widths == expected.encoder.widths
    told = expected.state_dict()["options"]
    assert found.state_dict()["options"] == told
    stated = {name: spec.config[name] for name in told}
    assert stated | {"relative": bool(stated["relative"])} == told
    samples = SHORT["samples"]
    assert spec.resolved.resolved(network, samples) == spec.resolved  # all is chosen


@both
@encoded_or_not
def test_jax_s_projections_are_those_of_the_library_s_options(
    method: str, network: str
) -> None:
    running = JitRun([spec_of(method, network, "jax")])
    running.learn(Listener())
    expected = by_default(method, network)
    assert bool(running.learner.encodings) == (expected.encoder is not None)
    assert expected.projector.normalize == "none"
    state = rgo_jax.projection_state(running.learner.state)
    for path, P in {**state.weights, **state.biases}.items():
        moment = rgo_core.SecondMoment(*map(np.asarray, running.moments[path]))
        own = rgo_core.consolidate(moment, expected.damping, normalized=False)
        np.testing.assert_allclose(P, own, atol=1e-6)
        assert np.abs(own - np.eye(len(own))).max() > 1e-5


def test_of_a_part_that_does_not_stand_for_all_the_damping_is_that_part() -> None:
    names = "split-digits", "rgo", 0
    part = SHORT | {"observed": 25}
    whole = make_spec(*names, SHORT, network="lenet-5").config["damping"]
    assert make_spec(*names, part, network="lenet-5").config["damping"] == whole / 4
    for options in ({"extrapolate": True}, {"observed": 300}, {"observed": "enough"}):
        spec = make_spec(*names, part | options, network="lenet-5")
        assert spec.config["damping"] == whole
    for given in ({"damping": 0.5}, {"weights": "normalized"}):  # that is a share
        spec = make_spec(*names, part | given, network="lenet-5")
        without = make_spec(*names, SHORT | given, network="lenet-5")
        assert spec.config["damping"] == without.config["damping"]


def test_a_part_and_as_much_of_the_damping_is_what_stands_for_all() -> None:
    runs: list[Any] = []
    for options in ({}, {"extrapolate": True}):
        spec = make_spec("split-digits", "rgo", 0, SHORT | {"observed": 25} | options)
        running: Any = begin_run(spec)
        running.learn(Listener())
        runs.append(running.method.rgo)
    one, other = runs
    assert one.damping == other.damping / 4
    for name, P in one.projector.projections.items():
        torch.testing.assert_close(P, other.projector.projections[name])
        assert not torch.allclose(P, torch.eye(len(P)))
