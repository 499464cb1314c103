from typing import Any

import pytest
import torch
from bench.short_runs import equal, make_method
from bench.small_settings import BATCH, learn, samples, tiny_network, tiny_setting
from torch import nn
from torch.nn import functional

import rgo_torch
from rgo_bench.clock import Clock
from rgo_bench.methods import METHODS
from rgo_bench.methods.rgo import SAMPLE_BATCH, RGOOptions, unencoded
from rgo_bench.networks import resnet_18

CPU = torch.device("cpu")
CHANNELED = (nn.Linear, nn.Conv2d)
THREE = torch.tensor([True, True, True, False])


def learn_one(method: Any, count: int = 20) -> None:
    x, y = samples(0, method.setting, count)
    method.begin_task(0)
    for batch in zip(x.split(BATCH), y.split(BATCH), strict=True):
        method.step(*batch)
    method.end_task(x, y, Clock(CPU))


def by_hand(size: int, count: int = 20, **options: Any) -> rgo_torch.RGO:
    """The same with `rgo_torch` alone; the curvature is seen in batches of a size."""
    network = tiny_network(0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    chosen = RGOOptions(**options).as_dict()
    observed = chosen.pop("observed")
    rgo = rgo_torch.RGO(network, optimizer, seed=0, **chosen)
    x, y = samples(0, tiny_setting(), count)
    rgo.begin_task(0)
    for inputs, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    x, y = x[:observed], y[:observed]
    rgo.end_task(zip(x.split(size), y.split(size), strict=True))
    return rgo


def test_the_curvature_of_batches_is_that_of_batches_of_the_training_size() -> None:
    method = make_method("rgo", {"per": "batch"})
    learn_one(method)
    found = method.rgo.state_dict()
    assert equal(found, by_hand(BATCH, per="batch").state_dict())
    assert not equal(found, by_hand(2 * BATCH, per="batch").state_dict())


def test_the_curvature_of_samples_is_taken_in_large_batches() -> None:
    count = SAMPLE_BATCH + 20
    method = make_method("rgo", {"per": "sample"})
    learn_one(method, count)
    expected = by_hand(SAMPLE_BATCH, count, per="sample")
    assert equal(method.rgo.state_dict(), expected.state_dict())


def test_a_part_of_the_samples_is_observed_where_that_is_asked_for() -> None:
    method = make_method("rgo", {"observed": 8})
    learn_one(method)
    expected = by_hand(SAMPLE_BATCH, observed=8)
    assert equal(method.rgo.state_dict(), expected.state_dict())
    assert int(method.rgo.projector.moments["0.weight"].count) == 8
    with pytest.raises(ValueError, match="'observed': expected a positive integer"):
        RGOOptions(observed=0)


def test_head_and_shortcuts_of_a_residual_network_are_not_encoded() -> None:
    network = resnet_18((3, 8, 8), 10, 0)
    names = {name for name, m in network.named_modules() if isinstance(m, CHANNELED)}
    shortcuts = {f"blocks.{block}.shortcut.0" for block in (2, 4, 6)}
    assert set(unencoded(network)) == {"head", *shortcuts}
    setting = tiny_setting()._replace(make_network=lambda seed: network)
    method = METHODS["rgo"].build(setting, RGOOptions())
    assert set(method.rgo.encoder.widths) == names - {"head", *shortcuts}


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("damping", (0.1, 0.5)),
        ("per", ("sample", "batch")),
        ("reduce", ("mean", "rms")),
        ("curvature", ("ground-truth", "exact")),
        ("biases", ("raw", "normalized")),
        ("relative", (True, False)),
        ("encode", (True, False)),
    ],
)
def test_every_option_reaches_rgo(option: str, values: tuple[Any, Any]) -> None:
    # One damping for all: where none is given it depends on the other options.
    methods = [make_method("rgo", {"damping": 0.1, option: value}) for value in values]
    for method in methods:
        learn(method, 0)
    assert not equal(*(method.rgo.state_dict() for method in methods))


def test_rgo_2_has_no_encoding_and_is_rgo_otherwise() -> None:
    plain, same = make_method("rgo-2"), make_method("rgo", {"encode": False})
    assert plain.rgo.encoder is None
    for method in (plain, same):
        learn(method, 0, 1)
    x, _ = samples(0, tiny_setting())
    assert torch.equal(plain.predict(x, 0), plain.predict(x, 1))
    assert equal(plain.state_dict(), same.state_dict())


def test_predictions_of_rgo_depend_on_the_task_asked_for() -> None:
    method = make_method("rgo")
    learn(method, 0, 1)
    x, _ = samples(0, tiny_setting())
    assert not torch.allclose(method.predict(x, 0), method.predict(x, 1))


def test_asking_for_an_earlier_task_does_not_change_the_training_of_this_one() -> None:
    asked, other = make_method("rgo"), make_method("rgo")
    for method in (asked, other):
        learn(method, 0)
        method.begin_task(1)
    asked.predict(samples(0, tiny_setting())[0], 0)
    for method in (asked, other):
        method.step(*samples(1, tiny_setting()))
    assert equal(asked.state_dict(), other.state_dict())


def test_the_curvature_is_that_of_the_classes_in_play() -> None:
    some, all_ = make_method("rgo", masks=(THREE,)), make_method("rgo")
    x, y = samples(0, tiny_setting())
    for method in (some, all_):
        method.begin_task(0)
        method.end_task(x, y % 3, Clock(CPU))
    assert not equal(some.rgo.state_dict(), all_.rgo.state_dict())


def test_the_second_pass_and_the_projections_are_timed_apart_from_training() -> None:
    method, clock = make_method("rgo"), Clock(CPU)
    method.begin_task(0)
    method.end_task(*samples(0, tiny_setting()), clock)
    seconds = clock.seconds
    assert min(seconds["curvature"], seconds["consolidate"]) > 0
    assert seconds["train"] == seconds["evaluate"] == 0


@pytest.mark.parametrize("name", ["rgo", "rgo-2"])
def test_a_state_holds_all_that_the_next_task_depends_on(name: str) -> None:
    method, other = make_method(name), make_method(name)
    learn(method, 0)
    other.load_state_dict(method.state_dict())
    for each in (method, other):
        learn(each, 1)
    assert equal(method.state_dict(), other.state_dict())
