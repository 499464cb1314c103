"""The commands that set methods beside each other: what they reach and take."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.table import Table

from rgo_bench.cli import options as option
from rgo_bench.cli.terminal import (
    Format,
    end_with,
    errors,
    run_shown,
    show,
    show_measured,
)
from rgo_bench.measure.cost import (
    measure_costs,
    own_options,
    parse_subject,
    summarize_costs,
)
from rgo_bench.methods import METHODS
from rgo_bench.records import PHASES, read_records
from rgo_bench.report.comparison import compare_sheet, comparisons
from rgo_bench.report.orders import disparities, order_sheet, order_specs
from rgo_bench.runs.attempts import Manner, import_plugins
from rgo_bench.runs.spec import check_name, make_spec, parse_options
from rgo_bench.sheets import Sheet, cost_cells
from rgo_bench.streams import STREAMS


def compare(
    results: Annotated[Path, typer.Argument(help="A folder of records.")],
    stream: Annotated[str, typer.Option(help=option.choices(STREAMS))],
    method: Annotated[
        str | None, typer.Option(help=f"{option.choices(METHODS)} All by default.")
    ] = None,
    network: option.Network = None,
    tasks: Annotated[
        int | None, typer.Option(help="Tasks of a run; the stream's by default.", min=1)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="A picture: .png, .pdf or .svg.")
    ] = None,
    format_: option.Formats = Format.terminal,
) -> None:
    """Set methods beside each other: accuracy, transfer, memory and seconds."""
    wanted = option.split_names(method)
    every = read_records(results)
    found = []
    for name in dict.fromkeys(stream.split(",")):
        check_name("stream", name, STREAMS)
        count = tasks or STREAMS[name].defaults.tasks
        of = network or STREAMS[name].network
        asked = (name, of, count)
        records = [
            each
            for each in every
            if (each.stream, each.network, len(each.accuracy)) == asked
            and (wanted is None or each.method in wanted)
        ]
        if not records:
            raise ValueError(
                f"{results}: expected records of {name} with {of} and {count} tasks, "
                "got none"
            )
        found.append(comparisons(records))
    if plot is not None and len(found) > 1:
        raise ValueError(f"--plot: expected one stream, got {stream}")
    sheets = [compare_sheet(rows) for rows in found]
    grids = [grid for sheet in sheets for grid in sheet.grids]
    show(Sheet(grids, pd.concat(sheet.lines for sheet in sheets)), format_)
    if plot is not None:
        from rgo_bench.report.plots import figure_comparison  # loads Matplotlib

        figure_comparison(found[0]).savefig(plot)
        typer.echo(plot)


def orders(
    stream: option.Stream,
    method: option.Methods = "rgo,apd,sgd",
    count: Annotated[int, typer.Option("--orders", help="Orders.", min=2)] = 5,
    seed: Annotated[int, typer.Option(help="The seed of all.", min=0)] = 0,
    set_: option.Settings = None,
    network: option.Network = None,
    out: option.Out = Path("results"),
    jobs: option.Jobs = 1,
    device: option.Device = "cpu",
    plugin: option.Plugins = None,
    format_: option.Formats = Format.terminal,
) -> None:
    """Run the same tasks in several orders, and tell how much their order matters."""
    import_plugins(plugin or ())
    specs = order_specs(
        stream,
        dict.fromkeys(method.split(",")),
        orders=count,
        seed=seed,
        options=parse_options(set_ or []),
        network=network,
    )
    manner = Manner(out=out, device=device, plugins=tuple(plugin or ()))
    records, failures = run_shown(specs, manner, jobs=jobs)
    show(order_sheet(disparities(records)), format_)
    end_with(failures)


def cost(
    stream: option.Stream,
    method: Annotated[
        str, typer.Option(help="METHOD[:BACKEND[:SEEDS]], several; the first is 1.")
    ] = "sgd,rgo",
    repeats: Annotated[int, typer.Option(help="Runs of each method.", min=1)] = 3,
    set_: option.Settings = None,
    threads: option.Threads = 1,
    plugin: option.Plugins = None,
    out: option.OutFile = None,
) -> None:
    """Time whole runs, interleaved, each in a process of its own; and their memory."""
    import_plugins(plugin or ())
    options = parse_options(set_ or [])
    unknown = set(options)
    for subject in method.split(","):
        name, backend, _ = parse_subject(subject)
        own = own_options(stream, subject, options)
        make_spec(stream, name, 0, own, backend=backend)
        unknown -= set(own)
    if unknown:
        raise ValueError(
            f"--set: expected options of {stream} or of {method}, got "
            f"{', '.join(sorted(unknown))}"
        )
    costs = measure_costs(
        stream,
        method.split(","),
        options=options,
        repeats=repeats,
        threads=threads,
        plugins=plugin or (),
        ran=lambda cost: errors.print(f"{cost.method}: {cost.total:.1f} s"),
    )
    rows = summarize_costs(costs)
    table = Table("method", "seconds", "ratio", *PHASES, "MiB", "ratio", box=None)
    for row in rows:
        table.add_row(row["method"], *cost_cells(row))
    show_measured(table, rows, out, "cpu", threads, stream=stream, options=options)
