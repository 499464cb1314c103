"""The command ``rgo-bench zoo``."""

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.cli.terminal import Format, show
from rgo_bench.paper.choices import chosen
from rgo_bench.records import check_writable
from rgo_bench.runs.spec import parse_options
from rgo_bench.zoo.methods import METHODS, check_options
from rgo_bench.zoo.recorded import recorded
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
                of_task = steps or ZOO[name].steps
                learn = partial(train, name, method, seed, options=own, steps=of_task)
                records.append(
                    recorded(
                        learn,
                        out,
                        model=name,
                        method=method,
                        seed=seed,
                        options=own,
                        steps=of_task,
                        force=force,
                    )
                )
    show(zoo_sheet(records), format_)
