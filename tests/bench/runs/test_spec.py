import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from bench.short_runs import path_of
from bench.small_archives import write_cifar_binary

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.spec import (
    Spec,
    make_spec,
    option_text,
    parse_options,
    protocol_options,
)
from rgo_bench.streams import STREAMS

OUT = Path("out")
PAIRS = [
    (stream, method)
    for stream in STREAMS
    for method in METHODS
    if STREAMS[stream].network in NETWORKS
]
# What an option cannot be chosen without.
NEEDED: dict[str, dict[str, Any]] = {"softmax": {"per": "batch"}}


def other_value(options: Any, name: str) -> Any:
    """Another value that an option can have."""
    value = getattr(options, name)
    names = get_args(get_type_hints(type(options))[name])
    choices = [each for name in names for each in get_args(name)]
    if isinstance(value, str) or (value is None and choices):
        return next(other for other in choices or names if other != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 or 0.5
    return (value or 0) + 1


@pytest.mark.parametrize(("stream", "method"), PAIRS)
def test_by_default_every_option_has_its_default_and_there_is_no_variant(
    stream: str, method: str
) -> None:
    spec = make_spec(stream, method, 3)
    assert spec.network == STREAMS[stream].network
    assert spec.variant == ""
    streams, methods = STREAMS[stream].defaults, METHODS[method].defaults
    protocol = STREAMS[stream].protocol.get(method, {})
    assert spec.config == streams.as_dict() | methods.as_dict() | protocol
    assert spec.config == protocol_options(stream, method)
    assert path_of(spec, OUT) == OUT / stream / method / "seed-3.json"


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
    assert spec.variant == "damping=0.01,per=batch,tasks=6"
    assert (spec.config["per"], spec.config["tasks"]) == ("batch", 6)


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


def test_an_option_of_the_protocol_is_not_measured_anew(
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


@pytest.mark.parametrize("method", METHODS)
def test_runs_that_differ_in_any_option_have_records_of_their_own(method: str) -> None:
    choices: list[dict[str, Any]] = [{}]
    for options in (STREAMS["permuted-digits"].defaults, METHODS[method].defaults):
        choices += [
            {name: other_value(options, name), **NEEDED.get(name, {})}
            for name in options.as_dict()
        ]
    specs = [make_spec("permuted-digits", method, 0, each) for each in choices]
    assert len({path_of(spec, OUT) for spec in specs}) == len(choices)


def test_runs_that_differ_in_the_angles_have_records_of_their_own() -> None:
    choices: list[dict[str, Any]] = [
        {},
        {"angles": "drawn"},
        {"angles": "drawn", "step": 9.5},
        {"angles": "drawn", "step": 95},
    ]
    specs = [make_spec("rotated-mnist", "rgo", 0, each) for each in choices]
    assert len({path_of(spec, OUT) for spec in specs}) == len(choices)


def test_stream_method_and_seed_have_records_of_their_own() -> None:
    specs = [make_spec(*pair, seed) for pair in PAIRS for seed in (0, 1)]
    assert len({path_of(spec, OUT) for spec in specs}) == 2 * len(PAIRS)


def test_another_network_is_a_variant() -> None:
    spec = replace(make_spec("permuted-digits", "sgd", 0), network="lenet-5")
    assert spec.variant == "network=lenet-5"
    assert spec.config["network"] == "lenet-5"


@pytest.mark.parametrize("stream", STREAMS)
def test_the_network_of_the_stream_is_no_variant_and_any_other_is(stream: str) -> None:
    settings: dict[str, Any] = {
        "stream_options": STREAMS[stream].defaults,
        "method_options": METHODS["sgd"].defaults,
    }
    for network in ("mlp", "resnet-18"):
        spec = Spec(stream=stream, method="sgd", seed=0, network=network, **settings)
        own = network == STREAMS[stream].network
        assert spec.variant == ("" if own else f"network={network}")


def on_data(folder: Path) -> Spec:
    return make_spec("permuted-mnist", "rgo", 0, data=folder)


def test_a_tilde_is_the_home_folder() -> None:
    assert on_data(Path("~/mnist")).data == Path.home() / "mnist"


def copy_to(folder: Path, idx_files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in idx_files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_data_folder_is_a_variant_that_says_its_name(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    spec = on_data(copy_to(tmp_path / "fashion", idx_files))
    assert re.fullmatch(r"data=fashion-[0-9a-f]{8}", spec.variant)
    assert spec.variant == f"data={spec.config['data']}"
    assert str(tmp_path) not in str(path_of(spec, OUT))


def test_folders_of_one_name_and_other_images_have_records_of_their_own(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    first = copy_to(tmp_path / "a" / "images", idx_files)
    changed = bytearray(idx_files["t10k-labels-idx1-ubyte"])
    changed[-1] ^= 1
    other = idx_files | {"t10k-labels-idx1-ubyte": bytes(changed)}
    second = copy_to(tmp_path / "b" / "images", other)
    renamed = copy_to(tmp_path / "a" / "pictures", idx_files)
    folders = (first, second, renamed)
    assert len({path_of(on_data(folder), OUT) for folder in folders}) == 3


def test_the_same_images_elsewhere_and_a_relative_path_are_the_same_run(
    tmp_path: Path, idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = copy_to(tmp_path / "a" / "images", idx_files)
    second = copy_to(tmp_path / "b" / "images", idx_files)
    monkeypatch.chdir(first)
    variants = {on_data(folder).variant for folder in (first, second, Path())}
    assert len(variants) == 1


def test_every_stream_names_the_images_that_it_reads_in_a_folder(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    copy_to(tmp_path / "images", idx_files)
    files = write_cifar_binary(tmp_path / "images")

    def variant() -> str:
        folder = tmp_path / "images"
        return make_spec("split-cifar100", "rgo", 0, network="mlp", data=folder).variant

    before = variant()
    assert re.fullmatch(r"data=images-[0-9a-f]{8},network=mlp", before)
    assert before.split(",")[0] != on_data(tmp_path / "images").variant
    files["test"].write_bytes(bytes(3074))
    assert variant() != before


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
    config = make_spec(stream, method, 0).config
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
        ({"options": {"per": 1}}, "option 'per': expected str as in sample, got 1"),
        ({"options": {"lr": -1}}, "option 'lr': expected a positive number, got -1.0"),
        (
            {"options": {"lr": float("nan")}},
            "option 'lr': expected a positive number, got nan",
        ),
        ({"options": {"tasks": 0}}, "option 'tasks': expected a positive integer, g"),
        *(
            ({"options": {name: "foo"}}, f"option {name!r}: expected one of {names}, g")
            for name, names in [
                ("biases", "raw, normalized"),
                ("per", "sample, batch"),
                ("reduce", "mean, rms"),
                ("curvature", "ground-truth, exact"),
                ("permutations", "null, shared"),
            ]
        ),
        (
            {"options": {"damping": -1.0}},
            "damping must be a finite number > 0, got -1.0",
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
