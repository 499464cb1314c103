"""The command ``rgo-bench zoo``."""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from rgo_bench.choices import chosen
from rgo_bench.records import check_writable, describe_environment
from rgo_bench.seeds import parse_seeds
from rgo_bench.spec import parse_options
from rgo_bench.terminal import Format, errors, show
from rgo_bench.zoo.methods import METHODS, check_options
from rgo_bench.zoo.record import (
    ZooRecord,
    read_zoo_record,
    write_zoo_record,
    zoo_path,
)
from rgo_bench.zoo.registry import ZOO
from rgo_bench.zoo.table import zoo_sheet
from rgo_bench.zoo.training import train


def zoo(
    models: Annotated[
        str | None, typer.Option(help=f"Of {', '.join(ZOO)}; all by default.")
    ] = None,
    methods: Annotated[
        str, typer.Option(help=f"Of {', '.join(METHODS)}.")
    ] = "plain,rgo,joint",
    seeds: Annotated[str, typer.Option(help="Seeds: 3, or 0-4, or 0,2,5.")] = "0",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: an option of RGO.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of a task; the model's own by default.", min=1),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the records.")] = Path(
        "results/zoo"
    ),
    force: Annotated[bool, typer.Option(help="Run finished runs again.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of a run.", min=1)] = 1,
    format_: Annotated[Format, typer.Option("--format")] = Format.terminal,
) -> None:
    """Train the models that people train on three tasks, with and without RGO."""
    wanted = chosen("models", models.split(",") if models else None, ZOO)
    by = chosen("methods", methods.split(","), METHODS)
    options = parse_options(set_ or [])
    check_options(options)
    check_writable(out)
    torch.set_num_threads(threads)
    records = []
    for name in wanted:
        for method in by:
            for seed in parse_seeds(seeds):
                own = options if method.startswith("rgo") else {}
                records.append(_run(name, method, seed, own, steps, out, force))
    show(zoo_sheet(records), format_)


def _run(
    name: str,
    method: str,
    seed: int,
    options: dict[str, Any],
    steps: int | None,
    out: Path,
    force: bool,
) -> ZooRecord:
    """Run, or read the record that is there, if it is of as many steps."""
    path = zoo_path(out, model=name, method=method, options=options, seed=seed)
    if path.exists() and not force:
        known = read_zoo_record(path)
        if known.training["steps"] == (steps or ZOO[name].steps):
            return known
    environment = describe_environment(
        "torch", device="cpu", threads=torch.get_num_threads()
    )
    record = train(
        name, method, seed, options=options, steps=steps, environment=environment
    )
    write_zoo_record(out, record)
    bwt = "" if record.bwt is None else f", BWT {record.bwt:.1f}"
    seconds = sum(record.seconds.values())
    errors.print(f"{name} {method} {seed}: ACC {record.acc:.1f}{bwt}, {seconds:.0f} s")
    return record
