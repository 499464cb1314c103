import csv

import pytest
from rich.console import Console

from rgo_bench.paper.tables import PAPER_TABLES
from rgo_bench.records import PHASES, Record
from rgo_bench.report.render import (
    render_csv,
    render_latex,
    render_markdown,
    render_rich,
)
from rgo_bench.runs.spec import Spec


def record_for(spec: Spec) -> Record:
    """A record that `spec` might end with, its numbers as wide as any."""
    last = (10.0 + spec.seed, 98.0)
    return Record(
        stream=spec.stream,
        method=spec.method,
        variant=spec.variant,
        network=spec.network,
        backend="torch",
        seed=spec.seed,
        config=spec.config,
        accuracy=((90.0, None), last),
        train_accuracy=(100.0 - 20 * spec.seed, 100.0),
        seconds=dict.fromkeys(PHASES, 1.0),
        environment={},
    )


@pytest.mark.parametrize("number", PAPER_TABLES)
def test_every_table_is_rendered_in_every_format_and_fits_80_columns(
    number: str,
) -> None:
    table = PAPER_TABLES[number]
    records = [record_for(spec) for spec in table.specs(seeds=[0, 1])]
    sheet = table.sheet(records)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*render_rich(sheet.grids))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in capture.get()
    for grid in sheet.grids:
        assert {len(cells) for cells in grid.cells} == {len(grid.header)}
    assert render_markdown(sheet.grids).count("### ") == len(sheet.grids)
    assert render_latex(sheet.grids).count("\\end{tabular}") == len(sheet.grids)
    rows = list(csv.reader(render_csv(sheet.lines).splitlines()))
    assert {len(row) for row in rows} == {len(sheet.lines.columns)}


@pytest.mark.parametrize("number", PAPER_TABLES)
def test_every_table_takes_the_same_choices(number: str) -> None:
    table = PAPER_TABLES[number]
    every = table.specs()
    one = every[0]
    specs = table.specs(seeds=[3], streams=[one.stream], networks=[one.network])
    assert {(s.stream, s.network, s.seed) for s in specs} == {
        (one.stream, one.network, 3)
    }
    assert {spec.seed for spec in every} == set(range(5))
