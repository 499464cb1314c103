import shlex
from dataclasses import replace

import pytest
from bench.page_elements import read_page
from bench.sample_records import make_record
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.records import Record
from rgo_bench.records.groups import group_by_run
from rgo_bench.report.commands import (
    command_list,
    run_command,
    seeds_text,
    spec_command,
)
from rgo_bench.runs.spec import make_spec, parse_options


def record_like(spec_options: dict[str, object], seed: int = 0) -> Record:
    spec = make_spec("permuted-digits", "rgo", seed, spec_options)
    names = {"stream": spec.stream, "method": spec.method, "variant": spec.variant}
    return replace(make_record(seed=seed), config=spec.config, **names)


def command_of(*records: Record) -> str:
    ((run, group),) = group_by_run(records).items()
    return run_command(run, group)


@pytest.mark.parametrize(
    "options", [{}, {"tasks": 3, "per": "batch", "encode": False, "damping": 1e-5}]
)
def test_the_command_asks_for_the_same_run(options: dict[str, object]) -> None:
    record = record_like(options)
    words = shlex.split(command_of(record))
    assert shlex.join(words[:7]) == (
        "rgo-bench run permuted-digits --method rgo --seeds 0"
    )
    assert words[7::2] == ["--set"] * len(options)
    spec = make_spec("permuted-digits", "rgo", 0, parse_options(words[8::2]))
    assert (spec.config, spec.variant) == (record.config, record.variant)


@pytest.mark.parametrize(
    ("method", "options"),
    [("rgo", {"epochs": 20, "lr": 0.01}), ("los", {"manifold": None})],
)
def test_the_command_of_a_run_to_be_asks_for_it(
    method: str, options: dict[str, object]
) -> None:
    asked = make_spec("split-cifar100", method, 3, options, network="vgg-11")
    words = shlex.split(spec_command(asked, "--out", "my results"))
    start = ["rgo-bench", "run", "split-cifar100", "--method", method, "--seeds", "3"]
    assert words[:7] == start
    assert words[7:9] == ["--network", "vgg-11"]
    assert words[-2:] == ["--out", "my results"]
    settings = words[9:-2]
    assert settings[::2] == ["--set"] * len(options)
    given = parse_options(settings[1::2])
    assert make_spec(asked.stream, method, 3, given, network="vgg-11") == asked


def test_an_option_that_is_no_longer_the_default_is_set() -> None:
    record = record_like({"damping": 0.5})
    assert command_of(replace(record, variant="")).endswith("--set damping=0.5")


def test_the_protocol_of_the_stream_is_not_set() -> None:
    spec = make_spec("split-cifar100", "los", 0, {"rank": 5})
    record = make_record(
        stream=spec.stream, method="los", variant=spec.variant, config=spec.config
    )
    assert command_of(record).endswith("--method los --seeds 0 --set rank=5")


def test_network_data_and_backend_have_arguments_of_their_own() -> None:
    config = {"network": "lenet-5", "data": "my images-0123abcd"}
    variant = "backend=jax,data=my%20images-0123abcd,network=lenet-5"
    record = make_record(stream="other", variant=variant, config=config)
    assert command_of(record).endswith(
        "--seeds 0 --network lenet-5 --data 'my images' --backend jax"
    )


def test_a_hostile_option_is_one_word_of_the_shell() -> None:
    record = make_record(variant="a=%3B%20rm%20-rf%20%24HOME")
    words = shlex.split(command_of(record))
    assert words[words.index("--set") + 1] == "a=; rm -rf $HOME"


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2, 3, 4], [5, 0, 2, 3, 9]])
def test_seeds_are_read_back(seeds: list[int]) -> None:
    assert parse_seeds(seeds_text(seeds)) == sorted(seeds)


def test_the_command_line_knows_the_arguments() -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"}).output
    words = ("--method", "--seeds", "--set", "--network", "--data")
    assert [word for word in words if word not in shown] == []


def test_every_run_has_a_line_under_its_stream() -> None:
    records = [make_record(), make_record(seed=3), make_record(stream="rotated-mnist")]
    page = read_page(command_list(group_by_run(records)))
    assert [each.text for each in page.all("h3")] == ["permuted-mnist", "rotated-mnist"]
    first, second = (each.text for each in page.all("code"))
    assert "run permuted-mnist --method rgo --seeds 0,3" in first
    assert "run rotated-mnist --method rgo --seeds 0" in second
