import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from bench.short_runs import path_of
from bench.specs import OUT, PAIRS

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.spec import (
    make_spec,
    option_text,
    parse_options,
    protocol_options,
)
from rgo_bench.streams import STREAMS


@pytest.mark.parametrize(("stream", "method"), PAIRS)
def test_by_default_every_option_has_its_default_and_there_is_no_variant(
    stream: str, method: str
) -> None:
    spec = make_spec(stream, method, 3)
    assert spec.network == STREAMS[stream].network
    assert spec.variant == ""
    streams, methods = STREAMS[stream].defaults, METHODS[method].defaults
    protocol = STREAMS[stream].protocol.get(method, {})
    defaults = streams.as_dict() | methods.as_dict() | protocol
    assert defaults == protocol_options(stream, method)
    given = replace(methods, **protocol_of(methods, protocol))
    own = given.resolved(spec.network, streams.samples)
    assert spec.config == defaults | own.as_dict()
    assert path_of(spec, OUT) == OUT / stream / method / "seed-3.json"


def protocol_of(options: Any, protocol: Mapping[str, Any]) -> dict[str, Any]:
    return {n: value for n, value in protocol.items() if n in options.as_dict()}


def test_what_is_left_to_the_method_is_stated_and_not_named() -> None:
    spec = make_spec("permuted-mnist", "rgo", 0, {"weights": "normalized"})
    assert spec.variant == "weights=normalized"
    assert (spec.config["damping"], spec.config["biases"]) == (0.03, "raw")
    lenet = make_spec("permuted-mnist", "rgo", 0, network="lenet-5")
    assert lenet.variant == "network=lenet-5"
    assert (lenet.config["damping"], lenet.config["reduce"]) == (15.0, "rms")
    means = make_spec("permuted-mnist", "rgo", 0, {"reduce": "mean"}, network="lenet-5")
    assert means.variant == "network=lenet-5,reduce=mean"
    assert (means.config["damping"], means.config["relative"]) == (0.03, True)


def test_what_is_given_is_named_though_it_would_be_chosen_too() -> None:
    default = make_spec("permuted-mnist", "rgo", 0)
    given = make_spec("permuted-mnist", "rgo", 0, {"weights": "raw", "damping": 0.3})
    assert given.variant == "damping=0.3,weights=raw"
    assert given.config == default.config


@pytest.mark.parametrize(("stream", "method"), PAIRS)
def test_no_option_of_a_method_has_the_name_of_one_of_a_stream(
    stream: str, method: str
) -> None:
    streams, methods = STREAMS[stream].defaults, METHODS[method].defaults
    reserved = {"data", "network"}
    assert not set(methods.as_dict()) & ({*streams.as_dict()} | reserved)
    assert not set(streams.as_dict()) & reserved


@pytest.mark.parametrize(("stream", "method"), PAIRS)
def test_a_configuration_is_the_same_when_read_from_a_record(
    stream: str, method: str
) -> None:
    config = make_spec(stream, method, 0).config
    assert json.loads(json.dumps(config)) == config


def test_options_reach_the_stream_or_the_method_and_name_the_variant() -> None:
    spec = make_spec("permuted-mnist", "rgo", 0, {"per": "batch", "tasks": 6})
    assert spec.stream_options.tasks == 6
    assert spec.method_options.as_dict()["per"] == "batch"
    assert spec.variant == "per=batch,tasks=6"
    assert (spec.config["per"], spec.config["tasks"]) == ("batch", 6)
    assert spec.config["damping"] == 0.01


def test_an_option_at_its_default_is_no_variant() -> None:
    assert make_spec("permuted-mnist", "rgo", 0, {"tasks": 20}).variant == ""


@pytest.mark.parametrize("stream", ["permuted-mnist", "rotated-mnist"])
@pytest.mark.parametrize("method", METHODS)
def test_the_mnist_streams_change_no_default_of_a_method(
    stream: str, method: str
) -> None:
    spec = make_spec(stream, method, 0)
    assert spec.method_options == METHODS[method].defaults
    assert spec.stream_options == STREAMS[stream].defaults


def test_the_protocol_of_a_stream_is_the_default_there_and_named_nowhere() -> None:
    spec = make_spec("split-miniimagenet", "gpm", 0)
    assert spec.method_options.as_dict()["representations"] == 100
    assert spec.variant == ""
    assert make_spec("split-miniimagenet", "los", 0).stream_options.lr == 0.2
    assert protocol_options("split-cifar100", "los")["lr"] == 0.4


def test_options_given_win_over_the_protocol_and_name_the_variant() -> None:
    given = {"threshold": 0.9, "lr": 0.1}
    spec = make_spec("split-cifar100", "gpm", 0, given)
    assert spec.config == protocol_options("split-cifar100", "gpm") | given
    assert spec.variant == "lr=0.1,threshold=0.9"
    # A method's default is another choice where the protocol has its own.
    assert make_spec("split-cifar100", "ewc", 0, {"window": 10}).variant == "window=10"


def test_a_preset_stands_for_options_and_those_given_beside_it_win() -> None:
    preset = dict(METHODS["rgo"].presets["paper"])
    spec = make_spec("permuted-digits", "rgo", 0, {"preset": "paper", "tasks": 3})
    assert spec == make_spec("permuted-digits", "rgo", 0, {**preset, "tasks": 3})
    given = {"preset": "paper", "damping": 1.0}
    spec = make_spec("permuted-digits", "rgo", 0, given)
    assert spec == make_spec("permuted-digits", "rgo", 0, {**preset, "damping": 1.0})


def test_what_the_protocol_switches_on_can_be_switched_off() -> None:
    off = {"per_class": None, "manifold": None}
    spec = make_spec("split-cifar100", "los", 0, off)
    assert spec.method_options == METHODS["los"].defaults
    assert spec.variant == "manifold=none,per_class=none"


def test_an_option_of_the_protocol_is_not_left_to_the_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = replace(STREAMS["split-digits"], protocol={"rgo": {"damping": 7.0}})
    monkeypatch.setattr(
        "rgo_bench.runs.spec.STREAMS", {**STREAMS, "split-digits": entry}
    )
    assert make_spec("split-digits", "rgo", 0).config["damping"] == 7.0
    spec = make_spec("split-digits", "rgo", 0, {"per": "batch"})
    assert (spec.config["damping"], spec.variant) == (7.0, "per=batch")


def test_a_whole_number_serves_as_a_real_one_and_makes_the_same_run() -> None:
    whole, real = (make_spec("permuted-mnist", "sgd", 0, {"lr": lr}) for lr in (1, 1.0))
    assert whole == real
    assert isinstance(whole.config["lr"], float)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ([], {}),
        (["per=batch", "tasks=6"], {"per": "batch", "tasks": 6}),
        (["encode=false", "lr=1e-3"], {"encode": False, "lr": 0.001}),
        (["rank=null"], {"rank": None}),
        (["per=a=b"], {"per": "a=b"}),
        (["per="], {"per": ""}),
        (["tasks=1", "tasks=2"], {"tasks": 2}),
    ],
)
def test_settings_are_read_as_json_or_else_as_text(
    settings: list[str], options: dict[str, Any]
) -> None:
    assert parse_options(settings) == options


@pytest.mark.parametrize(("stream", "method"), PAIRS)
def test_every_default_is_read_back_from_its_text(stream: str, method: str) -> None:
    config = protocol_options(stream, method)
    settings = [f"{name}={option_text(value)}" for name, value in config.items()]
    options = parse_options(settings)
    assert options == config
    assert make_spec(stream, method, 0, options).variant == ""


@pytest.mark.parametrize("setting", ["tasks", "=3", "", "="])
def test_a_setting_of_another_form_is_refused(setting: str) -> None:
    message = f"--set: expected KEY=VALUE, got {setting!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_options([setting])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stream": "mnist"},
            f"stream: expected one of {', '.join(STREAMS)}, got 'mnist'",
        ),
        ({"method": "adam"}, f"method: expected one of {', '.join(METHODS)}, got 'ad"),
        ({"network": "vgg"}, f"network: expected one of {', '.join(NETWORKS)}, "),
        ({"seed": -1}, "seed: expected an integer from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "seed: expected an integer from 0 to 4294967295, got 42"),
        ({"seed": True}, "seed: expected an integer from 0 to 4294967295, got True"),
        ({"seed": 1.0}, "seed: expected an integer from 0 to 4294967295, got 1.0"),
        (
            {"method": "sgd", "options": {"per": "batch", "alpha": 1}},
            "option of permuted-digits with sgd: expected one of batch, epochs, lr, "
            "order, samples, tasks, got alpha, per",
        ),
        ({"options": {"tasks": 1.5}}, "option 'tasks': expected int as in 10, got 1.5"),
        ({"options": {"tasks": "3"}}, "option 'tasks': expected int as in 10, got '3'"),
        (
            {"options": {"tasks": True}},
            "option 'tasks': expected int as in 10, got True",
        ),
        ({"options": {"lr": "a"}}, "option 'lr': expected float as in 0.1, got 'a'"),
        ({"options": {"lr": True}}, "option 'lr': expected float as in 0.1, got True"),
        ({"options": {"lr": None}}, "option 'lr': expected float as in 0.1, got None"),
        (
            {"options": {"encode": "False"}},
            "option 'encode': expected bool as in true, got 'False'",
        ),
        ({"options": {"preset": "ours"}}, "preset of rgo: expected paper, got 'ours'"),
        (
            {"method": "sgd", "options": {"preset": "paper"}},
            "preset of sgd: expected none, got 'paper'",
        ),
        (
            {"options": {"per": 1}},
            "option 'per': expected one of null, sample, batch, got 1",
        ),
        (
            {"options": {"relative": False}},
            "option 'relative': expected one of null, True, got False",
        ),
        ({"options": {"lr": -1}}, "option 'lr': expected a positive number, got -1.0"),
        (
            {"options": {"lr": float("nan")}},
            "option 'lr': expected a positive number, got nan",
        ),
        ({"options": {"tasks": 0}}, "option 'tasks': expected a positive integer, g"),
        *(
            ({"options": {name: "foo"}}, f"option {name!r}: expected one of {names}, g")
            for name, names in [
                ("biases", "null, raw, normalized"),
                ("weights", "null, raw, normalized"),
                ("per", "null, sample, batch"),
                ("reduce", "null, mean, rms"),
                ("curvature", "null, ground-truth, floored, exact"),
                ("permutations", "null, shared"),
            ]
        ),
        (
            {"options": {"damping": -1.0}},
            "option 'damping': expected a positive number, got -1.0",
        ),
        (
            {"options": {"curvature": "exact", "relative": True}},
            "curvature='exact' with reduce='mean' leaves the last layer",
        ),
        (
            {"options": {"observed": "foo"}},
            "'observed': expected one of null, enough",
        ),
        *(
            ({"method": method, "options": {name: "foo"}}, f"option {name!r}: expected")
            for method, name in [
                ("owm", "observe"),
                ("owm", "biases"),
                ("gpm", "biases"),
                ("los", "manifold"),
                ("los", "rank"),
            ]
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    arguments = {"stream": "permuted-digits", "method": "rgo", "seed": 0, **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        make_spec(**arguments)
