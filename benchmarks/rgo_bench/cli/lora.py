"""The command ``rgo-bench lora``."""

from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer

from rgo_bench.cli import options as option
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.cli.terminal import Format, errors, show
from rgo_bench.lora.choice import METHODS
from rgo_bench.lora.registry import STREAMS
from rgo_bench.lora.table import lora_sheet
from rgo_bench.lora.training import learn
from rgo_bench.paper.choices import chosen
from rgo_bench.runs.spec import parse_options
from rgo_bench.zoo.record import Asked, read_zoo_records
from rgo_bench.zoo.recorded import recorded


def lora(
    stream: Annotated[
        str, typer.Option("--stream", "--streams", help=option.choices(STREAMS))
    ] = "modules",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "--methods",
            help="; ".join(f"{k}: {v}" for k, v in METHODS.items()),
        ),
    ] = ",".join(METHODS),
    seeds: option.Seeds = "0",
    set_: option.OptionsOfRGO = None,
    steps: option.Steps = None,
    out: option.Out = Path("results/lora"),
    force: option.Force = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw all records of the folder: an SVG file.")
    ] = None,
    threads: option.Threads = 1,
    format_: option.Formats = Format.terminal,
) -> None:
    """Teach one LoRA adapter on a frozen model task after task, of real text."""
    wanted = chosen("stream", option.split_names(stream), STREAMS)
    by = chosen("method", option.split_names(method), METHODS)
    torch.set_num_threads(threads)
    asked = [
        Asked(name, f"{of.model}-{name}", by_method, seed, steps or of.steps)
        for name, by_method, seed in product(wanted, by, parse_seeds(seeds or "0"))
        for of in (STREAMS[name],)
    ]
    options = parse_options(set_ or [])
    tell = errors.print
    recorded(learn, asked, out, options=options, tell=tell, force=force, kind="lora")
    records = read_zoo_records(out, "lora")
    if plot is not None:
        from rgo_bench.lora.plot import write_lora_figure  # loads Matplotlib

        write_lora_figure(records, plot)
    show(lora_sheet(records), format_)
