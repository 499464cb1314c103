"""Runs that differ have records of their own."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from bench.short_runs import path_of
from bench.small_archives import write_cifar_binary
from bench.specs import OUT, PAIRS

from rgo_bench.methods import METHODS
from rgo_bench.runs.spec import (
    Spec,
    make_spec,
)
from rgo_bench.streams import STREAMS

# What an option cannot be chosen without.
NEEDED: dict[str, dict[str, Any]] = {
    "softmax": {"per": "batch"},
    "most": {"relative": True, "damping": 0.1},  # RGO's, of a relative damping
}


def needed_for(name: str, options: Any) -> dict[str, Any]:
    """What of these an option goes with; others of its name have none of them."""
    needed = NEEDED.get(name, {})
    return needed if set(needed) <= set(options.as_dict()) else {}


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


@pytest.mark.parametrize("method", METHODS)
def test_runs_that_differ_in_any_option_have_records_of_their_own(method: str) -> None:
    choices: list[dict[str, Any]] = [{}]
    for options in (STREAMS["permuted-digits"].defaults, METHODS[method].defaults):
        choices += [
            {name: other_value(options, name), **needed_for(name, options)}
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
