"""The command ``rgo-bench zoo``."""

from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from rgo_bench.cli.options import (
    Force,
    Formats,
    Out,
    Seeds,
    choices,
    split_names,
)
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.cli.terminal import Format, show
from rgo_bench.paper.choices import chosen
from rgo_bench.records import check_writable
from rgo_bench.runs.spec import parse_options
from rgo_bench.zoo.methods import METHODS, check_options, steps_of
from rgo_bench.zoo.recorded import recorded
from rgo_bench.zoo.registry import ZOO
from rgo_bench.zoo.table import zoo_sheet
from rgo_bench.zoo.training import train


def zoo(
    model: Annotated[
        str | None,
        typer.Option("--model", "--models", help=f"{choices(ZOO)} All by default."),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", "--methods", help=choices(METHODS))
    ] = "plain,rgo,joint",
    seeds: Seeds = "0",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: an option of RGO.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of a task; the model's own by default.", min=1),
    ] = None,
    out: Out = Path("results/zoo"),
    force: Force = False,
    threads: Annotated[int, typer.Option(help="Threads of a run.", min=1)] = 1,
    format_: Formats = Format.terminal,
) -> None:
    """Train the models that people train on three tasks, with and without RGO."""
    wanted = chosen("model", split_names(model), ZOO)
    by = chosen("method", split_names(method), METHODS)
    options = parse_options(set_ or [])
    check_options(options)
    check_writable(out)
    torch.set_num_threads(threads)
    records = []
    for name, by_method, seed in product(wanted, by, parse_seeds(seeds or "0")):
        asked: dict[str, Any] = {"model": name, "method": by_method, "seed": seed}
        own = options if by_method.startswith("rgo") else {}
        of_task = steps or steps_of(ZOO[name], by_method)
        learn = partial(train, name, by_method, seed, options=own, steps=of_task)
        asked |= {"options": own, "steps": of_task, "force": force}
        records.append(recorded(learn, out, **asked))
    show(zoo_sheet(records), format_)
