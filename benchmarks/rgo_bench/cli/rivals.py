"""The commands that set methods beside each other: ``compare`` and ``orders``."""

from pathlib import Path
from typing import Annotated

import typer

from rgo_bench.cli.terminal import Format, end_with, run_shown, show
from rgo_bench.records import read_records
from rgo_bench.report.comparison import compare_sheet, comparisons
from rgo_bench.report.orders import disparities, order_sheet, order_specs
from rgo_bench.runs.jobs import Manner
from rgo_bench.runs.spec import check_name, parse_options
from rgo_bench.streams import STREAMS

Formats = Annotated[Format, typer.Option("--format")]


def compare(
    results: Annotated[Path, typer.Argument(help="A folder of records.")],
    stream: Annotated[str, typer.Option(help="One; see `rgo-bench list`.")],
    method: Annotated[
        str | None, typer.Option(help="Methods: rgo,sgd; all by default.")
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="A network; the stream's own by default.")
    ] = None,
    tasks: Annotated[
        int | None, typer.Option(help="Tasks of a run; the stream's by default.", min=1)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="A picture: .png, .pdf or .svg.")
    ] = None,
    format_: Formats = Format.terminal,
) -> None:
    """Set methods beside each other: accuracy, transfer, memory and seconds."""
    check_name("stream", stream, STREAMS)
    wanted = method.split(",") if method is not None else None
    count = tasks or STREAMS[stream].defaults.tasks
    of = network or STREAMS[stream].network
    records = [
        record
        for record in read_records(results)
        if (record.stream, record.network, len(record.accuracy)) == (stream, of, count)
        and (wanted is None or record.method in wanted)
    ]
    if not records:
        raise ValueError(
            f"{results}: expected records of {stream} with {of} and {count} tasks, "
            "got none"
        )
    rows = comparisons(records)
    show(compare_sheet(rows), format_)
    if plot is not None:
        # It loads Matplotlib.
        from rgo_bench.report.comparison_plot import figure_comparison

        figure_comparison(rows).savefig(plot)
        typer.echo(plot)


def orders(
    stream: Annotated[str, typer.Argument(help="A stream; see `rgo-bench list`.")],
    method: Annotated[str, typer.Option(help="Methods.")] = "rgo,apd,sgd",
    count: Annotated[int, typer.Option("--orders", help="Orders.", min=2)] = 5,
    seed: Annotated[int, typer.Option(help="The seed of all.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: an option of stream or method."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="A network; the stream's own by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the records.")] = Path(
        "results"
    ),
    jobs: Annotated[int, typer.Option(help="Runs at a time.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    format_: Formats = Format.terminal,
) -> None:
    """Run the same tasks in several orders, and tell how much their order matters."""
    specs = order_specs(
        stream,
        dict.fromkeys(method.split(",")),
        orders=count,
        seed=seed,
        options=parse_options(set_ or []),
        network=network,
    )
    records, failures = run_shown(specs, Manner(out=out, device=device), jobs=jobs)
    show(order_sheet(disparities(records)), format_)
    end_with(failures)
