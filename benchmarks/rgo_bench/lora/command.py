"""The command ``rgo-bench lora``."""

import io
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

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
    streams: Annotated[str, typer.Option(help=f"Of {', '.join(STREAMS)}.")] = "modules",
    methods: Annotated[
        str, typer.Option(help="; ".join(f"{k}: {v}" for k, v in METHODS.items()))
    ] = ",".join(METHODS),
    seeds: Annotated[str, typer.Option(help="Seeds: 3, or 0-4, or 0,2,5.")] = "0",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: an option of RGO.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of a task; the stream's own by default.", min=1),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the records.")] = Path(
        "results/lora"
    ),
    force: Annotated[bool, typer.Option(help="Run finished runs again.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw all records of the folder: an SVG file.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of a run.", min=1)] = 1,
    format_: Annotated[Format, typer.Option("--format")] = Format.terminal,
) -> None:
    """Teach one LoRA adapter on a frozen model task after task, of real text."""
    wanted = chosen("streams", streams.split(","), STREAMS)
    by = chosen("methods", methods.split(","), METHODS)
    options = parse_options(set_ or [])
    check_options(options)
    check_writable(out)
    torch.set_num_threads(threads)
    for stream in wanted:
        for method in by:
            for seed in parse_seeds(seeds):
                own = options if method.startswith("rgo") else {}
                entry = STREAMS[stream]
                of_task = steps or entry.steps
                recorded(
                    partial(learn, stream, method, seed, options=own, steps=of_task),
                    out,
                    kind="lora",
                    model=f"{entry.model}-{stream}",
                    method=method,
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
