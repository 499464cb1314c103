import itertools
from typing import Any

import pytest
import torch
from bench.short_runs import equal, make_method
from bench.small_settings import (
    BATCH,
    CLASSES,
    FEATURES,
    learn,
    samples,
    tiny_network,
    tiny_setting,
)
from torch import nn
from torch.nn import functional

import rgo_core
import rgo_torch
from rgo_bench.clock import Clock
from rgo_bench.methods import METHODS
from rgo_bench.methods.rgo import SAMPLE_BATCH, RGOOptions
from rgo_bench.networks import resnet_18
from rgo_torch import FeatureEncoding

CPU = torch.device("cpu")
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
    chosen = RGOOptions(**options)
    rgo = rgo_torch.RGO(network, optimizer, seed=0, **chosen.arguments())
    x, y = samples(0, tiny_setting(), count)
    rgo.begin_task(0)
    for inputs, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    x, y = x[: chosen.observed], y[: chosen.observed]
    batches = zip(x.split(size), y.split(size), strict=True)
    rgo.end_task(batches, whole=count if chosen.extrapolate else None)
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


def test_a_part_that_is_observed_can_stand_for_all_samples() -> None:
    method = make_method("rgo", {"observed": 8, "extrapolate": True})
    learn_one(method)
    expected = by_hand(SAMPLE_BATCH, observed=8, extrapolate=True)
    assert equal(method.rgo.state_dict(), expected.state_dict())
    assert method.options.share(20, FEATURES) == 0.4
    assert RGOOptions(observed=8).share(20, FEATURES) == 1


def test_enough_samples_stand_for_all_where_that_is_asked_for() -> None:
    enough = rgo_core.enough_samples(max(FEATURES, 8))
    method = make_method("rgo", {"observed": "enough"})
    learn_one(method, 2 * enough)
    expected = by_hand(SAMPLE_BATCH, 2 * enough, observed=enough, extrapolate=True)
    assert equal(method.rgo.state_dict(), expected.state_dict())
    seen = RGOOptions(observed="enough").seen
    assert seen(10_000, 784) == 1568
    assert seen(1500, 784) == 1500  # no more than there are
    with pytest.raises(ValueError, match="expected one of null, enough or a number"):
        RGOOptions(observed="most")  # type: ignore[arg-type]


def test_the_head_is_not_encoded_and_networks_may_say_what_is() -> None:
    assert set(make_method("rgo").rgo.encoder.widths) == {"0"}
    network = resnet_18((3, 8, 8), 10, 0)
    setting = tiny_setting()._replace(make_network=lambda seed: network)
    method = METHODS["rgo"].build(setting, RGOOptions())
    own = {n for n, m in network.named_modules() if isinstance(m, FeatureEncoding)}
    assert set(method.rgo.encoder.widths) == own


def test_layers_of_equal_width_share_a_permutation_where_that_is_asked_for() -> None:
    setting = tiny_setting()._replace(make_network=two_hidden)
    for shared in (None, "shared"):
        method = METHODS["rgo"].build(setting, RGOOptions(permutations=shared))
        method.begin_task(0)
        assert all(e.is_identity for e in method.rgo.encoder.encodings.values())
        method.rgo.encoder.set_task(1)
        first, second = method.rgo.encoder.encodings.values()
        assert torch.equal(first.permutation, second.permutation) == bool(shared)
    with pytest.raises(
        ValueError, match="'permutations': expected one of null, shared"
    ):
        RGOOptions(permutations="own")  # type: ignore[arg-type]


def two_hidden(seed: int) -> nn.Module:
    widths = (FEATURES, 8, 8, CLASSES)
    linear = [nn.Linear(n, m) for n, m in itertools.pairwise(widths)]
    return nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])


def test_the_softmax_of_the_second_pass_can_be_over_the_classes_of_a_batch() -> None:
    options = {"per": "batch", "softmax": "present"}
    method = make_method("rgo", options, masks=(THREE,))
    x, y = samples(0, tiny_setting(), 2 * BATCH)
    # Two of three classes in play are in the first mini-batch, one in the second.
    y = torch.tensor([0, 1] * BATCH)
    y[BATCH:] = 2
    method.begin_task(0)
    method.end_task(x, y, Clock(CPU))
    found = method.rgo.projector.moments["0.weight"].matrix
    expected = torch.zeros_like(found)
    weight, bias, head, last = (p.detach() for p in method.network.parameters())
    for part, classes in ((slice(BATCH), [0, 1]), (slice(BATCH, None), [2])):
        w = weight.clone().requires_grad_()
        h = torch.relu(x[part] @ w.T + bias)
        logits = (h @ head.T + last)[:, classes]
        p = torch.softmax(logits.detach(), -1)
        column = torch.tensor([classes.index(int(label)) for label in y[part]])
        of_truth = p.gather(1, column[:, None])[:, 0]
        truth = logits.gather(1, column[:, None])[:, 0]
        ((of_truth * (1 - of_truth)).sqrt() * truth).sum().backward()
        assert w.grad is not None
        g = w.grad.mean(0).double()
        expected += torch.outer(g, g)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


def test_without_mini_batches_there_are_no_present_classes() -> None:
    with pytest.raises(ValueError, match="'softmax': expected null without per=bat"):
        RGOOptions(softmax="present")
    with pytest.raises(ValueError, match="'softmax': expected one of null, present"):
        RGOOptions(per="batch", softmax="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "normalize"),
    [
        ({}, "none"),
        ({"weights": "raw"}, "none"),
        ({"weights": "normalized"}, "weights"),
        ({"biases": "normalized"}, "all"),
    ],
)
def test_projections_are_scaled_as_the_options_say(
    options: dict[str, Any], normalize: str
) -> None:
    method = make_method("rgo", options)
    assert method.rgo.projector.normalize == normalize


def test_biases_are_not_scaled_without_weights() -> None:
    message = "'weights': expected normalized with biases=normalized, .* got raw"
    with pytest.raises(ValueError, match=message):
        RGOOptions(weights="raw", biases="normalized")


def test_the_preset_of_the_paper_is_its_form() -> None:
    assert dict(METHODS["rgo"].presets["paper"]) == {
        "per": "batch",
        "damping": 0.01,
        "biases": "normalized",
        "softmax": "present",
        "permutations": "shared",
    }
    assert "permutations" not in METHODS["rgo-2"].presets["paper"]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("damping", (0.1, 0.5)),
        ("per", ("sample", "batch")),
        ("reduce", ("mean", "rms")),
        ("curvature", ("ground-truth", "exact")),
        ("biases", ("raw", "normalized")),
        ("weights", ("raw", "normalized")),
        ("relative", (True, None)),
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
