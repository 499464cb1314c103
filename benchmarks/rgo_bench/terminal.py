"""What the command line prints, and runs while its bars are shown."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import typer
from rich.console import Console

from rgo_bench.jobs import Failure, Manner, run_here, run_jobs
from rgo_bench.progress import Bars
from rgo_bench.records import Record
from rgo_bench.render import render_csv, render_latex, render_markdown, render_rich
from rgo_bench.spec import Spec
from rgo_bench.tables import table_rows

console = Console()
errors = Console(stderr=True)


class Format(StrEnum):
    """How a table is printed."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"


def run_shown(
    specs: Sequence[Spec], manner: Manner, *, jobs: int = 1
) -> tuple[list[Record], list[Failure]]:
    """Run `specs` behind progress bars.

    What goes wrong with a single run is raised: there is no other to spoil.
    """
    bars = Bars(console)
    with bars.shown():
        if len(specs) == 1:
            return [run_here(specs[0], manner, bars)], []
        outcome = run_jobs(specs, manner, jobs=jobs, bars=bars)
    return outcome.records, outcome.failures


def show(
    records: Iterable[Record],
    format_: Format = Format.terminal,
    *,
    deviations: bool = False,
) -> None:
    """Print the table of some records."""
    rows = table_rows(records)
    if format_ is Format.terminal:
        console.print(*render_rich(rows, deviations=deviations))
    elif format_ is Format.csv:
        typer.echo(render_csv(rows), nl=False)
    else:
        render = render_markdown if format_ is Format.markdown else render_latex
        typer.echo(render(rows, deviations=deviations), nl=False)


def end_with(failures: Sequence[Failure]) -> None:
    """Tell what failed, each in a line below its traceback, and exit with 1."""
    for failure in failures:
        spec = failure.spec
        typer.echo(failure.details, err=True)
        typer.secho(
            f"rgo-bench: {spec.stream} {spec.method} {spec.variant} seed {spec.seed}: "
            f"{failure.reason}",
            fg="red",
            err=True,
        )
    if failures:
        raise typer.Exit(1)
