"""Compiled steps learn what plain ones learn, in as few compilations as there are."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.short_runs import short_spec
from bench.small_settings import (
    BATCH,
    SPLIT,
    begin,
    learn,
    samples,
    tiny_network,
    tiny_setting,
    weights,
)
from torch import Tensor, fx, nn
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.compilation import begin_step, check_compiler, compiled_forward
from rgo_bench.methods import METHODS
from rgo_bench.methods.sgd import SGD
from rgo_bench.runs import run as running
from rgo_bench.runs import training
from rgo_bench.runs.attempts import Manner
from rgo_bench.runs.run import run

pytestmark = [
    # Dynamo's own, at tensors of which somebody else takes the gradient, and at
    # autograd functions.
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*should not be instantiated:DeprecationWarning"
    ),
]
CPU = torch.device("cpu")
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in METHODS),
    ("los", {"per_class": 1, "manifold": "stiefel"}),
    ("owm", {"observe": "task"}),
]


# They form their gradients themselves, or a network that grows.
PLAIN = {"adam-nscl", "apd", "den", "owm", "pgn", "rcl", "trgp"}


@pytest.fixture(autouse=True)
def afresh() -> None:
    torch.compiler.reset()


class Count:
    """A compiler that runs graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_every_method_learns_what_it_learns_plainly(
    name: str, options: dict[str, Any], masks: tuple[Tensor | None, ...]
) -> None:
    count, entry, setting = Count(), METHODS[name], tiny_setting(masks)
    chosen = replace(entry.defaults, **options)
    fast = setting._replace(
        compile_network=partial(compiled_forward, device=CPU, backend=count)
    )
    method, plain = entry.build(fast, chosen), entry.build(setting, chosen)
    for each in (method, plain):
        learn(each, 0, 1, 2)
    # Eight steps a task of rounding, which grows with the weights.
    if isinstance(plain.network, nn.Module):
        for weight, expected in zip(
            weights(method).values(), weights(plain).values(), strict=True
        ):
            torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)
    x, _ = samples(1, setting)
    torch.testing.assert_close(
        method.predict(x, 1), plain.predict(x, 1), rtol=1e-4, atol=1e-5
    )
    # Of every size of batch that replay makes, and of an identity encoding or another.
    assert count.graphs <= 4
    assert (count.graphs > 0) == method.compiles == (name not in PLAIN)


@pytest.mark.parametrize("backend", ["aot_eager"])
def test_gradients_are_compiled_too(backend: str) -> None:
    setting = tiny_setting()
    compile_network = partial(compiled_forward, device=CPU, backend=backend)
    options = METHODS["sgd"].defaults
    method = SGD(setting._replace(compile_network=compile_network), options)
    plain = SGD(setting, options)
    for each in (method, plain):
        learn(each, 0)
    for weight, expected in zip(
        weights(method).values(), weights(plain).values(), strict=True
    ):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)


def test_tests_and_curvature_passes_are_not_compiled() -> None:
    count = Count()
    setting = tiny_setting()._replace(
        compile_network=partial(compiled_forward, device=CPU, backend=count)
    )
    method = SGD(setting, METHODS["sgd"].defaults)
    x, y = begin(method, 0)
    method.predict(x, 0)
    assert count.graphs == 0
    method.step(x[:BATCH], y[:BATCH])
    method.predict(x, 0)
    assert count.graphs == 1


def test_graphs_are_replayed_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    marks: list[None] = []

    def note(network: nn.Module, **options: Any) -> nn.Module:
        asked.append(options)
        return network

    monkeypatch.setattr(torch, "compile", note)
    monkeypatch.setattr(
        torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(None)
    )
    for device in (torch.device("cuda"), CPU):
        compiled_forward(tiny_network(0), device)
        begin_step(device)
    assert [options["mode"] for options in asked] == ["reduce-overhead", None]
    assert len(marks) == 1


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Count:
    """In the place of the one that needs C++."""
    count = Count()
    monkeypatch.setattr(
        training, "compiled_forward", partial(compiled_forward, backend=count)
    )
    monkeypatch.setattr(running, "check_compiler", lambda: None)
    return count


def test_the_record_of_a_compiled_run_says_so_and_is_the_same_run(
    compiler: Count, tmp_path: Path
) -> None:
    spec = short_spec()
    record = run(spec, tmp_path / "fast", compiled=True)
    plain = run(spec, tmp_path / "plain")
    assert compiler.graphs == 1
    assert record.environment["compiled"] is True
    assert "compiled" not in plain.environment
    assert (record.config, record.variant) == (plain.config, plain.variant)
    assert record.accuracy == plain.accuracy


def test_runs_in_one_process_do_not_use_up_each_others_compilations(
    compiler: Count, tmp_path: Path
) -> None:
    limit = torch._dynamo.config.recompile_limit
    for seed in range(limit + 1):
        run(short_spec(seed=seed, tasks=1, samples=10), tmp_path, compiled=True)
    assert compiler.graphs == limit + 1


def test_a_method_that_cannot_be_compiled_is_recorded_as_plain(
    compiler: Count, tmp_path: Path
) -> None:
    record = run(short_spec("owm"), tmp_path, compiled=True)
    assert compiler.graphs == 0
    assert "compiled" not in record.environment


def test_without_a_compiler_nothing_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    message = r"--compile: expected a C\+\+ compiler, .* there is no no-such-compiler"
    with pytest.raises(OSError, match=message):
        check_compiler()
    with pytest.raises(OSError, match=message):
        run(short_spec(), tmp_path, compiled=True)
    assert list(tmp_path.iterdir()) == []


def test_the_commands_ask_for_compiled_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Manner] = []

    def note(specs: Any, manner: Manner, **_: Any) -> tuple[list[Any], list[Any]]:
        asked.append(manner)
        return [], []

    monkeypatch.setattr("rgo_bench.cli.running.run_shown", note)
    monkeypatch.setattr("rgo_bench.cli.showing.run_shown", note)
    out = f"--out={tmp_path}"
    for arguments in (
        ["run", "permuted-digits", "--compile", out],
        ["run", "permuted-digits", out],
        ["table", "2", "--compile", out],
    ):
        CliRunner().invoke(app, arguments)
    assert [manner.compiled for manner in asked] == [True, False, True]


def test_runs_that_are_missing_are_listed_with_what_was_asked(tmp_path: Path) -> None:
    arguments = ["table", "2", "--missing", "--compile", f"--out={tmp_path}"]
    lines = CliRunner().invoke(app, [*arguments, "--seeds=0"]).stdout.splitlines()
    assert lines
    assert all(line.endswith(" --compile") for line in lines)
