"""The command line: `rgo-bench list | run | table | demo`."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from rgo_bench import demo as demonstration
from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.progress import Bars
from rgo_bench.records import Record, check_writable, read_records
from rgo_bench.render import render_csv, render_latex, render_markdown, render_rich
from rgo_bench.run import run as run_one
from rgo_bench.spec import DEFAULT_NETWORK, Spec, make_spec, parse_options
from rgo_bench.streams import STREAMS
from rgo_bench.tables import table_rows

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Recursive Gradient Optimization: the paper's experiments.",
)
console = Console()
errors = Console(stderr=True)


class Format(StrEnum):
    """How a table is printed."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"


Out = Annotated[Path, typer.Option(help="The folder of the records.")]
Seeds = Annotated[str, typer.Option(help="Seeds: 3, or 0-4, or 0,2,5.")]


@app.command("list")
def list_all() -> None:
    """List streams, methods and networks, with the options that --set takes."""
    for kind, entries in (("stream", STREAMS), ("method", METHODS)):
        table = Table(kind, "what it is", "options", box=None, pad_edge=False)
        for name, entry in entries.items():
            options = entry.defaults.as_dict()
            listed = " ".join(f"{key}={value}" for key, value in options.items())
            table.add_row(name, entry.summary, listed)
        console.print(table, "")
    console.print("network ", *NETWORKS)


@app.command()
def run(
    stream: Annotated[str, typer.Argument(help="A stream; see `rgo-bench list`.")],
    method: Annotated[str, typer.Option(help="Methods: rgo, or rgo,sgd,stl.")] = "rgo",
    seed: Annotated[int | None, typer.Option(help="One seed.")] = None,
    seeds: Seeds = "0",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: an option of stream or method."),
    ] = None,
    network: Annotated[str, typer.Option(help="A network.")] = DEFAULT_NETWORK,
    data: Annotated[
        Path | None, typer.Option(help="The folder of the stream's data.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Out = Path("results"),
    force: Annotated[bool, typer.Option(help="Run finished runs again.")] = False,
    threads: Annotated[
        int, typer.Option(help="Threads of a run: one is best for the MLP.", min=1)
    ] = 1,
) -> None:
    """Run methods on a stream; a run that was cut off goes on where it stopped."""
    chosen = [seed] if seed is not None else parse_seeds(seeds)
    options = parse_options(set_ or [])
    specs = [
        make_spec(stream, name, each, options, network=network, data=data)
        for name in method.split(",")
        for each in chosen
    ]
    torch.set_num_threads(threads)
    check_writable(out)
    _show(_run_all(specs, out, device=device, force=force))


@app.command()
def table(
    results: Annotated[Path, typer.Argument(help="A folder of records.")],
    format_: Annotated[Format, typer.Option("--format")] = Format.terminal,
) -> None:
    """Print ours beside the paper's, mean and standard deviation over the seeds."""
    records = read_records(results)
    if not records:
        raise ValueError(f"{results}: expected records (seed-*.json), got none")
    _show(records, format_)


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: Annotated[int, typer.Option(help="The seed.")] = 0,
) -> None:
    """See SGD forget and RGO not, on scikit-learn's digits, in under a minute."""
    specs = list(demonstration.demo_specs(seed))
    console.print(
        f"{demonstration.STREAM}: {specs[0].stream_options.tasks} tasks, one network, "
        "no old data kept. ACC is the mean accuracy on all tasks after the last, BWT "
        "what was forgotten since each was learned, in percent."
    )
    torch.set_num_threads(1)
    records = _run_all(specs, out, device="cpu", force=True)
    picture = out / "average-accuracy.png"
    demonstration.write_plot(records, picture)
    _show(records)
    console.print(f"The same over time: {picture}")


def main() -> None:
    """Run the command line; errors of the user are one line, not a traceback."""
    try:
        app()
    except (ValueError, OSError) as error:
        errors.print(f"rgo-bench: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(2) from None


def parse_seeds(text: str) -> list[int]:
    """Read seeds: ``3``, ``0-4`` or ``0,2,5``.

    Raises
    ------
    ValueError
        If the text is of none of these forms.

    Examples
    --------
    >>> parse_seeds("0-2,7")
    [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"--seeds: expected 3, 0-4 or 0,2,5, got {text!r}")
        seeds += range(int(first), int(last if dash else first) + 1)
    if not seeds:
        raise ValueError(f"--seeds: expected at least one seed, got {text!r}")
    return seeds


def _run_all(
    specs: Sequence[Spec], out: Path, *, device: str, force: bool
) -> list[Record]:
    bars = Bars(console)
    with bars.shown():
        return [
            run_one(spec, out, device=device, force=force, reporter=bars.add(spec))
            for spec in specs
        ]


def _show(records: Iterable[Record], format_: Format = Format.terminal) -> None:
    rows = table_rows(records)
    if format_ is Format.terminal:
        console.print(*render_rich(rows))
        return
    render = {
        Format.markdown: render_markdown,
        Format.csv: render_csv,
        Format.latex: render_latex,
    }[format_]
    typer.echo(render(rows), nl=False)
