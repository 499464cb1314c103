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
    subjects = _subjects(networks, shape, device, optimizer)
    torch.set_num_threads(threads)
    head = ["network", "plain ms", "RGO ms", "ratio", "floor", "ratio / floor"]
    table = Table(*head, *(["plain compiled", "RGO compiled"] if compile_ else []))
    rows = []
    for network, sizes in subjects:
        row = measure_step(
            *(network, sizes),
            batch=batch,
            device=device,
            optimizer=optimizer,
            compiled=compile_,
            repeats=repeats,
        )
        plain = (row.sgd, row.rgo, row.ratio, row.floor, row.ratio / row.floor)
        fast = (row.sgd_compiled, row.rgo_compiled)
        compiled = (f"x {factor:.2f}" for factor in fast if factor is not None)
        table.add_row(network, *(f"{number:.2f}" for number in plain), *compiled)
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
    subjects = _subjects(networks, shape, "cpu", optimizer)
    torch.set_num_threads(1)
    own = ("products", "encoding", "rest")
    table = Table("network", "step", *PHASES, *own, "ratio", "floor")
    rows = []
    for network, sizes in subjects:
        row = profile_step(
            *(network, sizes), batch=batch, optimizer=optimizer, rounds=rounds
        )
        table.add_row(network, "plain", *(f"{row.plain[p]:.0f}" for p in PHASES))
        times = [row.rgo[p] for p in PHASES] + [getattr(row, name) for name in own]
        ratios = f"{row.ratio:.2f}", f"{row.floor:.2f}"
        table.add_row(network, "RGO", *(f"{time:.0f}" for time in times), *ratios)
        measured = row._asdict() | {"ratio": row.ratio, "floor": row.floor}
        rows.append(measured | {"input_shape": list(sizes)})
    show_measured(table, rows, out, "cpu", 1)


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
    table = Table("network", "step MiB", "pass MiB", "of it H", "rest / step")
    rows = []
    for network, sample in _subjects(networks, shape, device):
        row = measure_memory(network, sample, batch=batch, device=device)
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
    table = Table("form", *KINDS)
    for form in FORMS:
        own = {row.vectors: _error_text(row) for row in found if row.form == form}
        table.add_row(form, *(own[kind] for kind in KINDS))
    sizes = {"features": features, "count": vectors, "seed": seed}
    rows = [row._asdict() | sizes for row in found]
    show_measured(table, rows, out, "cpu", torch.get_num_threads())


def _count_states(models: list[str], rank: int, out: Path | None) -> None:
    head = ("model", "rank", "layers", "kept", "adapter MiB", "state MiB", "shared MiB")
    table = Table(*head)
    rows = state_rows(models, rank=rank)
    for row in rows:
        kept = "whole" if row.sketch_rows is None else f"{row.sketch_rows} rows"
        counted = (row.adapter_bytes, row.state_bytes, row.shared_bytes)
        sizes = (f"{b / 2**20:.1f}" for b in counted)
        table.add_row(row.model, str(rank), str(row.layers), kept, *sizes)
    stated = [row._asdict() for row in rows]
    show_measured(table, stated, out, "meta", torch.get_num_threads())


def _error_text(row: FormError) -> str:
    error = "fails" if row.error is None else f"{row.error:.0e}"
    return error if row.positive_definite else f"{error}, not positive definite"


def _subjects(
    networks: list[str], shape: str | None, device: str, optimizer: str = "sgd"
) -> list[tuple[str, tuple[int, ...]]]:
    """Return each network with the shape of a sample; raise before anything is run."""
    for network in networks:
        check_name("network", network, SUBJECTS)
    usable_device(device)
    check_name("optimizer", optimizer, OPTIMIZERS)
    if shape is None:
        return [(network, usual_shape(network)) for network in networks]
    sizes = shape.split(",")
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise ValueError(f"--shape: expected numbers as in 3,32,32, got {shape!r}")
    return [(network, tuple(map(int, sizes))) for network in networks]
