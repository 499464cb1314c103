"""What the command line prints, and runs while its bars are shown."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table

from rgo_bench.cli.progress import Bars
from rgo_bench.records import Record, describe_environment, write_json
from rgo_bench.report.render import (
    render_csv,
    render_latex,
    render_markdown,
    render_rich,
)
from rgo_bench.runs.attempts import Failure, Manner, Outcome, run_here, unrecorded
from rgo_bench.runs.jobs import run_jobs
from rgo_bench.runs.ray_jobs import run_on_ray
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.threads import limit_threads
from rgo_bench.sheets import Sheet


class Engine(NamedTuple):
    """Where several runs are made."""

    name: str  # "local" or "ray"
    address: str | None = None  # of a Ray cluster


LOCAL = Engine("local")
console = Console()
errors = Console(stderr=True)


def choose_engine(name: str, address: str | None) -> Engine:
    """Return the engine that ``--engine`` and ``--address`` stand for."""
    if name not in ("local", "ray"):
        raise ValueError(f"--engine: expected local or ray, got {name}")
    if address is not None and name != "ray":
        raise ValueError(f"--address: expected --engine ray, got {name}")
    return Engine(name, address)


class Format(StrEnum):
    """How a table is printed."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"


def run_shown(
    specs: Sequence[Spec], manner: Manner, *, jobs: int = 1, engine: Engine = LOCAL
) -> Outcome:
    """Run `specs` behind progress bars.

    What goes wrong with a single run is raised: there is no other to spoil.
    """
    bars = Bars(console)
    with bars.shown():
        if engine.name == "ray":
            return run_on_ray(specs, manner, address=engine.address, bars=bars)
        if len(specs) == 1:
            return Outcome([run_here(specs[0], manner, bars.add(specs[0]))], [])
        return run_jobs(specs, manner, jobs=jobs, bars=bars)


def run_mapped_shown(specs: Sequence[Spec], manner: Manner) -> list[Record]:
    """Run all seeds at once of what is alike otherwise, behind progress bars.

    That whose records are all there is not run again.
    """
    from rgo_bench.runs.jit import run_mapped  # only now, for JAX need not be there

    limit_threads(manner.threads, "jax")
    bars = Bars(console)
    with bars.shown():
        alike = defaultdict(list)
        for spec in specs:
            alike[spec.stream, spec.method, spec.variant].append(spec)
        for seeds in alike.values():
            if unrecorded(seeds, manner):
                reporter = bars.add(seeds[0])
                run_mapped(seeds, manner.out, device=manner.device, reporter=reporter)
        read = replace(manner, force=False)
        return [run_here(spec, read, bars.add(spec)) for spec in specs]


def show(sheet: Sheet, format_: Format = Format.terminal) -> None:
    """Print tables."""
    if format_ is Format.terminal:
        console.print(*render_rich(sheet.grids))
    elif format_ is Format.csv:
        typer.echo(render_csv(sheet.lines), nl=False)
    else:
        render = render_markdown if format_ is Format.markdown else render_latex
        typer.echo(render(sheet.grids), nl=False)


def end_with(failures: Sequence[Failure]) -> None:
    """Tell what failed and exit with 1.

    What several runs failed of is told once, with the traceback of the first.
    """
    alike: dict[str, list[Failure]] = {}
    for failure in failures:
        alike.setdefault(failure.reason, []).append(failure)
    for reason, failed in alike.items():
        typer.echo(failed[0].details, err=True)
        for spec in (failure.spec for failure in failed):
            parts = (spec.stream, spec.method, spec.variant, f"seed {spec.seed}")
            name = " ".join(filter(None, parts))
            typer.secho(f"rgo-bench: failed: {name}", fg="red", err=True)
        typer.secho(f"rgo-bench: {reason}", fg="red", err=True)
    if failures:
        raise typer.Exit(1)


def show_measured(
    table: Table,
    rows: Sequence[Mapping[str, object]],
    out: Path | None,
    device: str,
    threads: int,
    **asked: object,
) -> None:
    """Print a table, and write its rows and what they were measured on."""
    console.print(table)
    if out is None:
        return
    name = torch.cuda.get_device_name() if device == "cuda" else device
    environment = describe_environment("torch", device=name, threads=threads)
    write_json(out, asked | {"rows": rows, "environment": environment}, indent=2)
