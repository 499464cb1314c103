"""The commands that measure a step, a curvature pass, and the forms of P."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table

from rgo_bench.cli import options as option
from rgo_bench.cli.terminal import show_measured
from rgo_bench.lora.large import LARGE, state_rows
from rgo_bench.measure.numerics import FORMS, KINDS, FormError, measure_errors
from rgo_bench.measure.pass_memory import measure_memory
from rgo_bench.measure.step_profile import PHASES, profile_step
from rgo_bench.measure.steps import OPTIMIZERS, measure_step
from rgo_bench.measure.subjects import SUBJECTS, usual_shape
from rgo_bench.runs.spec import check_name
from rgo_bench.runs.training import usable_device


def steps(
    networks: option.Subjects,
    batch: option.Batch = 10,
    shape: option.Shape = None,
    device: option.Device = "cpu",
    optimizer: option.Optimizer = "sgd",
    threads: Annotated[int, typer.Option(help="Threads.", min=1)] = 1,
    repeats: Annotated[int, typer.Option(help="Timings of each.", min=1)] = 7,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Time compiled steps over plain ones too.")
    ] = False,
    out: option.OutFile = None,
) -> None:
    """Time a step of RGO beside a plain one, and beside its multiplications."""
    _check(networks, device)
    check_name("optimizer", optimizer, OPTIMIZERS)
    torch.set_num_threads(threads)
    head = ["network", "plain ms", "RGO ms", "ratio", "floor", "ratio / floor"]
    table = Table(*head, *(["plain compiled", "RGO compiled"] if compile_ else []))
    rows = []
    for network in networks:
        sizes = _shape(shape, network)
        row = measure_step(
            *(network, sizes),
            batch=batch,
            device=device,
            optimizer=optimizer,
            compiled=compile_,
            repeats=repeats,
        )
        over = f"{row.ratio / row.floor:.2f}"
        times = f"{row.sgd:.2f}", f"{row.rgo:.2f}"
        ratios = f"{row.ratio:.2f}", f"{row.floor:.2f}", over
        fast = (row.sgd_compiled, row.rgo_compiled)
        compiled = (f"x {factor:.2f}" for factor in fast if factor is not None)
        table.add_row(network, *times, *ratios, *compiled)
        measured = {k: v for k, v in row._asdict().items() if v is not None}
        rows.append(measured | {"input_shape": list(sizes)})
    show_measured(table, rows, out, device, threads)


def profile(
    networks: option.Subjects,
    batch: option.Batch = 10,
    shape: option.Shape = None,
    optimizer: option.Optimizer = "sgd",
    rounds: Annotated[int, typer.Option(help="Steps of each kind.", min=1)] = 200,
    out: option.OutFile = None,
) -> None:
    """Tell where the microseconds of a step of RGO go, on one thread of the CPU."""
    _check(networks, "cpu")
    check_name("optimizer", optimizer, OPTIMIZERS)
    torch.set_num_threads(1)
    own = ("products", "encoding", "rest")
    table = Table("network", "step", *PHASES, *own, "ratio", "floor")
    rows = []
    for network in networks:
        sizes = _shape(shape, network)
        row = profile_step(
            *(network, sizes), batch=batch, optimizer=optimizer, rounds=rounds
        )
        parts = [f"{getattr(row, name):.0f}" for name in own]
        ratios = [f"{row.ratio:.2f}", f"{row.floor:.2f}"]
        for kind, found in (("plain", row.plain), ("RGO", row.rgo)):
            times = [f"{found[phase]:.0f}" for phase in PHASES]
            more = [*parts, *ratios] if kind == "RGO" else []
            table.add_row(network, kind, *times, *more)
        measured = row._asdict() | {"ratio": row.ratio, "floor": row.floor}
        rows.append(measured | {"input_shape": list(sizes)})
    show_measured(table, rows, out, "cpu", 1)


def _shape(text: str | None, network: str) -> tuple[int, ...]:
    if text is None:
        return usual_shape(network)
    sizes = text.split(",")
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise ValueError(f"--shape: expected numbers as in 3,32,32, got {text!r}")
    return tuple(map(int, sizes))


def memory(
    networks: Annotated[
        list[str] | None, typer.Argument(help=option.choices(SUBJECTS))
    ] = None,
    batch: option.Batch = 10,
    shape: option.Shape = None,
    device: option.Device = "cpu",
    model: Annotated[
        str | None,
        typer.Option(help=f"Large models with adapters. {option.choices(LARGE)}"),
    ] = None,
    rank: Annotated[int, typer.Option(help="Of a large model's LoRA.", min=1)] = 16,
    out: option.OutFile = None,
) -> None:
    """Measure the memory of a curvature pass beside that of a training step.

    Or count what the state takes beside LoRA on all linear layers of a large model,
    without a weight of it.
    """
    if (model is None) == (networks is None):
        raise ValueError(
            "expected networks to measure or a --model to count, got "
            f"{'neither' if model is None else 'both'}"
        )
    if model is not None:
        _count_states(model.split(","), rank, out)
        return
    assert networks is not None
    _check(networks, device)
    table = Table("network", "step MiB", "pass MiB", "of it H", "rest / step")
    rows = []
    for network in networks:
        row = measure_memory(
            network, _shape(shape, network), batch=batch, device=device
        )
        sizes = (f"{size:.0f}" for size in (row.train, row.observe, row.moments))
        table.add_row(network, *sizes, f"{row.ratio:.2f}")
        rows.append(row._asdict() | {"ratio": row.ratio})
    show_measured(table, rows, out, device, torch.get_num_threads())


def numerics(
    features: Annotated[int, typer.Option(help="n.", min=1)] = 256,
    vectors: Annotated[int, typer.Option(help="Vectors folded in.", min=1)] = 40960,
    seed: Annotated[int, typer.Option(help="The seed.", min=0)] = 0,
    out: option.OutFile = None,
) -> None:
    """Compute P in every form, and print its relative error against the truth."""
    found = measure_errors(features=features, vectors=vectors, seed=seed)
    cells = {(row.form, row.vectors): _error_text(row) for row in found}
    table = Table("form", *KINDS)
    for form in FORMS:
        table.add_row(form, *(cells[form, kind] for kind in KINDS))
    sizes = {"features": features, "count": vectors, "seed": seed}
    rows = [row._asdict() | sizes for row in found]
    show_measured(table, rows, out, "cpu", torch.get_num_threads())


def _count_states(models: list[str], rank: int, out: Path | None) -> None:
    head = ("model", "rank", "layers", "kept", "adapter MiB", "state MiB", "shared MiB")
    table = Table(*head)
    rows = []
    for row in state_rows(models, rank=rank):
        rows.append(row._asdict())
        kept = "whole" if row.sketch_rows is None else f"{row.sketch_rows} rows"
        counted = (row.adapter_bytes, row.state_bytes, row.shared_bytes)
        sizes = (f"{b / 2**20:.1f}" for b in counted)
        table.add_row(row.model, str(rank), str(row.layers), kept, *sizes)
    show_measured(table, rows, out, "meta", torch.get_num_threads())


def _error_text(row: FormError) -> str:
    error = "fails" if row.error is None else f"{row.error:.0e}"
    return error if row.positive_definite else f"{error}, not positive definite"


def _check(networks: list[str], device: str) -> None:
    for network in networks:
        check_name("network", network, SUBJECTS)
    usable_device(device)
