"""The command ``rgo-bench zoo``."""

from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer

from rgo_bench.cli import options as option
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.cli.terminal import Format, errors, show
from rgo_bench.paper.choices import chosen
from rgo_bench.runs.spec import parse_options
from rgo_bench.zoo.methods import METHODS, steps_of
from rgo_bench.zoo.record import Asked
from rgo_bench.zoo.recorded import recorded
from rgo_bench.zoo.registry import ZOO
from rgo_bench.zoo.table import zoo_sheet
from rgo_bench.zoo.training import train


def zoo(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "--models", help=f"{option.choices(ZOO)} All by default."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", "--methods", help=option.choices(METHODS))
    ] = "plain,rgo,joint",
    seeds: option.Seeds = "0",
    set_: option.OptionsOfRGO = None,
    steps: option.Steps = None,
    out: option.Out = Path("results/zoo"),
    force: option.Force = False,
    threads: option.Threads = 1,
    format_: option.Formats = Format.terminal,
) -> None:
    """Train the models that people train on three tasks, with and without RGO."""
    wanted = chosen("model", option.split_names(model), ZOO)
    by = chosen("method", option.split_names(method), METHODS)
    torch.set_num_threads(threads)
    asked = [
        Asked(name, name, by_method, seed, steps or steps_of(ZOO[name], by_method))
        for name, by_method, seed in product(wanted, by, parse_seeds(seeds or "0"))
    ]
    options = parse_options(set_ or [])
    tell = errors.print
    records = recorded(train, asked, out, options=options, tell=tell, force=force)
    show(zoo_sheet(records), format_)
