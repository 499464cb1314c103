import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rgo_bench.data import ImageSet
from rgo_bench.methods import METHODS
from rgo_bench.paper.published import PUBLISHED_NETWORKS
from rgo_bench.streams import STREAMS, make_stream

DIGITS = [name for name in STREAMS if name.endswith("digits")]


def test_the_streams_are_there_with_a_summary_each() -> None:
    kinds = ("permuted", "rotated")
    transformed = {f"{a}-{b}" for a in kinds for b in ("mnist", "digits")}
    split = {f"split-{name}" for name in ("cifar100", "miniimagenet", "digits")}
    assert set(STREAMS) == transformed | split
    assert all(entry.summary for entry in STREAMS.values())


def test_the_mnist_streams_follow_the_protocol_of_the_paper() -> None:
    protocol: dict[str, Any] = {"tasks": 20, "samples": 10_000, "batch": 10}
    protocol |= {"epochs": 1, "lr": 0.1, "order": None}
    assert STREAMS["permuted-mnist"].defaults.as_dict() == protocol
    rotated = STREAMS["rotated-mnist"].defaults.as_dict()
    assert rotated == {**protocol, "angles": "fixed", "step": 9.0}


@pytest.mark.parametrize("name", ["split-cifar100", "split-miniimagenet"])
def test_the_split_streams_follow_the_protocol_of_table_1(name: str) -> None:
    entry = STREAMS[name]
    assert entry.defaults.as_dict() == {
        "tasks": 20,
        "samples": 2500,
        "batch": 10,
        "epochs": 8,
        "lr": 0.03,
        "order": None,
        "classes_per_task": 5,
        "held_back": None,
    }
    assert entry.defaults.steps == 2000
    assert entry.network == PUBLISHED_NETWORKS[name] == "resnet-18"


@pytest.mark.parametrize("name", STREAMS)
def test_every_option_of_a_protocol_is_one_of_the_method_or_the_stream(
    name: str,
) -> None:
    entry = STREAMS[name]
    for method, options in entry.protocol.items():
        defaults = entry.defaults.as_dict() | METHODS[method].defaults.as_dict()
        assert options.keys() <= defaults.keys()


@pytest.mark.parametrize(
    ("name", "start", "representations", "lr"),
    [("split-cifar100", 0.97, 125, 0.4), ("split-miniimagenet", 0.985, 100, 0.2)],
)
def test_the_baselines_have_options_of_their_own_with_convolutions(
    name: str, start: float, representations: int, lr: float
) -> None:
    protocol = STREAMS[name].protocol
    assert protocol["ewc"] == {"window": 50}
    assert protocol["los"] == {"lr": lr, "per_class": 1, "manifold": "stiefel"}
    gpm = protocol["gpm"]
    assert gpm["representations"] == representations
    assert gpm["threshold_first"] == gpm["threshold"] == start
    assert start + 19 * gpm["rise"] == pytest.approx(1)


@pytest.mark.parametrize("name", DIGITS)
def test_the_digits_need_no_folder(name: str) -> None:
    stream = make_stream(name, seed=0)
    assert stream.settings == STREAMS[name].defaults
    assert math.prod(stream.test(stream.tasks - 1).x.shape[1:]) == 64


def test_options_take_the_place_of_defaults() -> None:
    stream = make_stream("rotated-digits", seed=5, tasks=2, step=10.0, lr=0.5)
    assert (stream.tasks, stream.lr, stream.seed) == (2, 0.5, 5)
    assert stream.settings.step == 10.0
    assert stream.batch == STREAMS["rotated-digits"].defaults.batch


@pytest.mark.parametrize("name", ["permuted-mnist", "rotated-mnist"])
def test_any_idx_set_can_stand_in_the_place_of_mnist(
    name: str, idx_folder: Path, images: ImageSet
) -> None:
    stream = make_stream(name, seed=0, data=idx_folder, samples=25)
    assert (stream.input_shape, stream.classes) == ((36,), 10)
    np.testing.assert_array_equal(stream.test(0).y, images.test_labels)


@pytest.mark.parametrize("name", ["permuted-mnist", "rotated-mnist"])
def test_the_real_mnist_makes_tasks_of_10_000_images(
    name: str, mnist_folder: Path
) -> None:
    stream = make_stream(name, seed=0, data=mnist_folder)
    for samples in (stream.train(19), stream.test(19)):
        assert samples.x.shape == (10_000, 784)
        assert samples.x.min() == 0
        assert samples.x.max() == pytest.approx(1, abs=1e-6)
        assert np.bincount(samples.y).min() > 800


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "mnist",
            {},
            f"stream: expected one of {', '.join(STREAMS)}, got 'mnist'",
        ),
        (
            "permuted-digits",
            {"angles": "drawn", "epoch": 3},
            "option of permuted-digits: expected one of tasks, samples, batch, epochs, "
            "lr, order, got angles, epoch",
        ),
        (
            "permuted-digits",
            {"tasks": "3"},
            "option 'tasks': expected a positive integer, got '3'",
        ),
        (
            "permuted-digits",
            {"samples": 1498},
            "option 'samples' of permuted-digits: expected at most 1497",
        ),
        (
            "rotated-digits",
            {"data": Path("somewhere")},
            "data: expected no folder, for the digits come with scikit-learn, got "
            "somewhere",
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make_stream(name, seed=0, **arguments)


def test_a_wrong_option_is_refused_before_data_are_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="option 'lr'"):
        make_stream("permuted-mnist", seed=0, data=tmp_path / "absent", lr=-1)
