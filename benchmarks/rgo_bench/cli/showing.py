"""The commands that show what was recorded: ``table``, ``figure`` and ``report``."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rgo_bench.cli import options as option
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.cli.terminal import (
    LOCAL,
    Format,
    choose_engine,
    end_with,
    errors,
    run_shown,
    show,
)
from rgo_bench.lora.table import lora_sheet
from rgo_bench.paper.accuracies import accuracy_sheet
from rgo_bench.paper.published import PUBLISHED_NETWORKS
from rgo_bench.paper.table1 import table1_specs
from rgo_bench.paper.tables import PAPER_TABLES
from rgo_bench.records import read_records, replace_file
from rgo_bench.report.commands import spec_command
from rgo_bench.runs.attempts import Manner, unrecorded
from rgo_bench.sheets import Sheet
from rgo_bench.zoo.record import read_zoo_records
from rgo_bench.zoo.table import zoo_sheet


def table(
    what: Annotated[
        str,
        typer.Argument(help="A folder of records, or 1, 2 or 3: a table of the paper."),
    ],
    format_: option.Formats = Format.terminal,
    out: option.Out = Path("results"),
    jobs: option.Jobs = 1,
    seeds: option.Seeds = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="Of the table's: a,b; all by default, of Table 1 MNIST's."),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Of the table's: a,b; all by default.")
    ] = None,
    device: option.Device = "cpu",
    threads: option.Threads = 1,
    compile_: option.Compile = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only list the runs that are missing.")
    ] = False,
    run_: Annotated[
        bool | None,
        typer.Option(
            "--run/--no-run",
            help="Whether to run what is missing; by default of Table 1 alone.",
        ),
    ] = None,
    engine: option.EngineName = LOCAL.name,
    address: option.Address = None,
) -> None:
    """Print ours beside the paper's; of Tables 2 and 3 tell what was not run."""
    chosen_engine = choose_engine(engine, address)
    if what not in PAPER_TABLES:
        if what.isdecimal() and not Path(what).exists():
            raise ValueError(
                f"expected a table of the paper, {', '.join(PAPER_TABLES)}, or a "
                f"folder of records, got {what}"
            )
        _show_folder(Path(what), format_)
        return
    asked: dict[str, Any] = {"streams": option.split_names(stream)}
    asked["networks"] = option.split_names(network)
    if seeds is not None:
        asked["seeds"] = parse_seeds(seeds)
    specs = PAPER_TABLES[what].specs(**asked)
    manner = Manner(
        out=out, device=device, threads=max(1, threads // jobs), compiled=compile_
    )
    absent = unrecorded(specs, manner)
    errors.print(f"Table {what}: {len(absent)} of {len(specs)} runs are missing.")
    if missing:
        more = ["--out", str(out), "--device", device]
        more += ["--compile"] if compile_ else []
        for spec in absent:
            typer.echo(spec_command(spec, *more))
        return
    if not (PAPER_TABLES[what].runs if run_ is None else run_):
        specs = [spec for spec in specs if spec not in absent]
    records, failures = run_shown(specs, manner, jobs=jobs, engine=chosen_engine)
    show(PAPER_TABLES[what].sheet(records), format_)
    end_with(failures)


def _show_folder(folder: Path, format_: Format) -> None:
    kinds: list[tuple[Sequence[Any], Callable[..., Sheet]]] = [
        (read_records(folder), accuracy_sheet),
        (read_zoo_records(folder), zoo_sheet),
        (read_zoo_records(folder, "lora"), lora_sheet),
    ]
    _check_some(folder, [each for records, _ in kinds for each in records])
    for records, sheet in kinds:
        if records:
            show(sheet(records), format_)


def figure(
    number: Annotated[
        int, typer.Argument(help="1: the paper's Figure 1.", min=1, max=1)
    ],
    out: option.Out = Path("results"),
    path: Annotated[Path, typer.Option(help="The picture: .png, .pdf or .svg.")] = Path(
        "figure-1.png"
    ),
) -> None:
    """Draw a figure of the paper from the records that there are."""
    from rgo_bench.report.plots import write_average_accuracy  # loads Matplotlib

    manner = Manner(out=out)
    specs = table1_specs(streams=PUBLISHED_NETWORKS)
    missing = unrecorded(specs, manner)
    there = [spec for spec in specs if spec not in missing]
    if not there:
        raise ValueError(f"{out}: expected records of Figure {number}, got none")
    errors.print(f"Figure {number}: {len(missing)} of {len(specs)} runs are missing.")
    records, failures = run_shown(there, manner)
    write_average_accuracy(records, path)
    typer.echo(path)
    end_with(failures)


def report(
    results: Annotated[Path, typer.Argument(help="A folder of records.")],
    path: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    cost: Annotated[
        list[Path] | None, typer.Option(help="A file of `rgo-bench cost --out`.")
    ] = None,
) -> None:
    """Write tables, figure, heat maps and times as one page that needs no network."""
    from rgo_bench.report.page import report_html  # loads Matplotlib

    costs = [json.loads(file.read_text()) for file in cost or ()]
    records = read_records(results)
    _check_some(results, records)
    page = report_html(records, costs=costs, zoo=read_zoo_records(results))
    replace_file(path, page.encode())
    typer.echo(path)


def _check_some(results: Path | str, records: Sequence[object]) -> None:
    if not records:
        raise ValueError(f"{results}: expected records (seed-*.json), got none")
