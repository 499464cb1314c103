"""The commands of `rgo-bench`, put together."""

import typer

from rgo_bench.cli.listing import list_all
from rgo_bench.cli.lora import lora
from rgo_bench.cli.measuring import memory, numerics, profile, steps
from rgo_bench.cli.rivals import compare, cost, orders
from rgo_bench.cli.running import demo, run
from rgo_bench.cli.showing import figure, report, table
from rgo_bench.cli.zoo import zoo

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Recursive Gradient Optimization: the paper's experiments.",
)
app.command("list")(list_all)
for _command in (
    *(run, table, figure, report, compare, orders, zoo, lora, demo),
    *(cost, steps, profile, memory, numerics),
):
    app.command()(_command)


def main() -> None:
    """Run the command line; errors of the user are one line, not a traceback."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        # Not errors.print, which breaks lines.
        typer.secho(f"rgo-bench: {error}", fg="red", err=True)
        raise SystemExit(2) from None
