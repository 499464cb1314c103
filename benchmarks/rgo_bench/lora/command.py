"""The command ``rgo-bench lora``."""

import io
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

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
from rgo_bench.lora.choice import METHODS
from rgo_bench.lora.registry import STREAMS
from rgo_bench.lora.table import lora_sheet
from rgo_bench.lora.training import learn
from rgo_bench.paper.choices import chosen
from rgo_bench.records import check_writable, replace_file
from rgo_bench.runs.spec import parse_options
from rgo_bench.zoo.methods import check_options
from rgo_bench.zoo.record import read_zoo_records
from rgo_bench.zoo.recorded import recorded


def lora(
    stream: Annotated[
        str, typer.Option("--stream", "--streams", help=choices(STREAMS))
    ] = "modules",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "--methods",
            help="; ".join(f"{k}: {v}" for k, v in METHODS.items()),
        ),
    ] = ",".join(METHODS),
    seeds: Seeds = "0",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: an option of RGO.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of a task; the stream's own by default.", min=1),
    ] = None,
    out: Out = Path("results/lora"),
    force: Force = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw all records of the folder: an SVG file.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of a run.", min=1)] = 1,
    format_: Formats = Format.terminal,
) -> None:
    """Teach one LoRA adapter on a frozen model task after task, of real text."""
    wanted = chosen("stream", split_names(stream), STREAMS)
    by = chosen("method", split_names(method), METHODS)
    options = parse_options(set_ or [])
    check_options(options)
    check_writable(out)
    torch.set_num_threads(threads)
    for name, by_method, seed in product(wanted, by, parse_seeds(seeds or "0")):
        own = options if by_method.startswith("rgo") else {}
        entry = STREAMS[name]
        of_task = steps or entry.steps
        recorded(
            partial(learn, name, by_method, seed, options=own, steps=of_task),
            out,
            kind="lora",
            model=f"{entry.model}-{name}",
            method=by_method,
            seed=seed,
            options=own,
            steps=of_task,
            force=force,
        )
    records = read_zoo_records(out, "lora")
    if plot is not None:
        picture = io.BytesIO()
        import matplotlib as mpl  # here: it takes long to load

        from rgo_bench.lora.plot import STYLE, lora_figure

        with mpl.rc_context(STYLE):
            lora_figure(records).savefig(picture, format="svg", metadata={"Date": None})
        replace_file(plot, picture.getvalue())
    show(lora_sheet(records), format_)
