import csv
from dataclasses import replace

import pytest
from bench.sample_records import make_record, record_of
from rich.console import Console

from rgo_bench.paper.accuracies import accuracy_sheet
from rgo_bench.paper.table2 import table2_sheet
from rgo_bench.records import Record
from rgo_bench.report.render import (
    render_csv,
    render_latex,
    render_markdown,
    render_rich,
)


@pytest.fixture
def records() -> list[Record]:
    return [
        record_of([88.0, 90.0], seed=0),
        record_of([86.0, 90.0], seed=1),
        make_record(stream="rotated-digits", method="sgd"),
    ]


def at_terminal(records: list[Record], width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        for table in render_rich(accuracy_sheet(records).grids):
            console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_terminal_has_a_table_for_each_stream(records: list[Record]) -> None:
    lines = at_terminal(records, width=100)
    assert "permuted-mnist (mlp, torch)" in lines
    assert "rotated-digits (mlp, torch)" in lines
    (ours,) = (line.split() for line in lines if line.startswith(" rgo"))
    assert ours[:5] == ["rgo", "2", "88.50±0.50", "-3.00±1.00", "91.15±0.20"]


def test_no_number_and_no_name_is_cut_at_80_columns() -> None:
    variant = "curvature=exact,reduce=rms"
    records = [
        record_of([last, 90.0], seed=seed, method="er-ring", variant=name)
        for name in ("", variant)
        for seed, last in enumerate((18.0, 35.0))
    ]
    lines = at_terminal(records, width=80)
    assert max(map(len, lines)) <= 80
    last = [
        "2",
        "58.25±4.25",
        "-63.50±8.50",
        "79.84±0.63",
        "-12.88±0.65",
        "-21.59",
        "-50.62",
    ]
    assert [line.split()[1:] for line in lines if "er-ring" in line] == [last, last]
    assert "".join(line[:14].strip() for line in lines[5:]) == f"er-ring{variant}"


def test_deviations_fit_into_80_columns_where_there_is_no_variant() -> None:
    records = [
        record_of([last, 90.0], seed=seed, method=method)
        for method in ("er-ring", "los")
        for seed, last in enumerate((18.0, 35.0))
    ]
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*render_rich(accuracy_sheet(records, deviations=True).grids))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    (last,) = (line.split() for line in lines if "er-ring" in line)
    assert last[-3:] == ["-21.59", "-34", "-50.62"]


def test_markdown_and_latex_state_deviations_where_asked_for(
    records: list[Record],
) -> None:
    assert "| Δ ACC | Δ/σ | Δ BWT |" in render_markdown(
        accuracy_sheet(records, deviations=True).grids
    )
    assert "$\\Delta$/$\\sigma$" in render_latex(
        accuracy_sheet(records, deviations=True).grids
    )


def test_brackets_in_a_variant_are_not_taken_for_markup() -> None:
    records = [make_record(), make_record(variant="a=[red]")]
    assert any("a=[red]" in line for line in at_terminal(records, width=120))


def test_markdown_has_a_heading_and_a_table_for_each_stream(
    records: list[Record],
) -> None:
    assert render_markdown(accuracy_sheet(records).grids) == (
        "### permuted-mnist (mlp, torch)\n"
        "\n"
        "| method | seeds | ACC | BWT | paper ACC | paper BWT | Δ ACC | Δ BWT |\n"
        "| --- | --: | --: | --: | --: | --: | --: | --: |\n"
        "| rgo | 2 | 88.50 ± 0.50 | -3.00 ± 1.00 | 91.15 ± 0.20 | -2.05 ± 0.09 "
        "| -2.65 | -0.95 |\n"
        "\n"
        "### rotated-digits (mlp, torch)\n"
        "\n"
        "| method | seeds | ACC | BWT |\n"
        "| --- | --: | --: | --: |\n"
        "| sgd | 1 | 87.06 | -9.88 |\n"
    )


def test_csv_has_all_rows_in_one_table_with_plain_numbers(
    records: list[Record],
) -> None:
    first, second = csv.DictReader(
        render_csv(accuracy_sheet(records).lines).splitlines()
    )
    assert (first["stream"], first["method"], first["seeds"]) == (
        *("permuted-mnist", "rgo", "2"),
    )
    assert float(first["acc"]) == pytest.approx(88.5)
    assert float(first["bwt_std"]) == pytest.approx(1.0)
    assert float(first["paper_acc"]) == 91.15
    assert float(first["acc_difference"]) == pytest.approx(-2.65)
    assert float(first["acc_deviations"]) == pytest.approx(-2.65 / 0.20)
    assert (second["stream"], second["paper_acc"], second["bwt_difference"]) == (
        *("rotated-digits", "", ""),
    )


def test_a_comma_in_a_variant_stays_in_one_csv_cell() -> None:
    records = [make_record(variant="a=1,b=2")]
    (row,) = csv.DictReader(render_csv(accuracy_sheet(records).lines).splitlines())
    assert row["variant"] == "a=1,b=2"


def test_latex_sets_numbers_as_mathematics_and_escapes_names(
    records: list[Record],
) -> None:
    text = render_latex(accuracy_sheet(records).grids)
    assert (
        "rgo & $2$ & $88.50 \\pm 0.50$ & $-3.00 \\pm 1.00$ & $91.15 \\pm 0.20$ & "
        "$-2.05 \\pm 0.09$ & $-2.65$ & $-0.95$ \\\\\n"
    ) in text
    assert text.count("\\begin{tabular}{lrrr") == text.count("\\end{tabular}") == 2
    assert "$\\Delta$ ACC" in text
    varied = [make_record(), make_record(variant="a_b=50%25&x")]
    assert "a\\_b=50\\%25\\&x" in render_latex(accuracy_sheet(varied).grids)


def test_latex_leaves_a_cell_without_a_number_empty() -> None:
    records = [make_record(), make_record(variant="tasks=6")]
    assert "&  &  &  &  \\\\\n" in render_latex(accuracy_sheet(records).grids)


def test_no_rows_render_to_nothing_but_the_csv_header() -> None:
    assert (render_rich([]), render_markdown([]), render_latex([])) == ([], "", "")
    assert render_csv(accuracy_sheet([]).lines).count("\n") == 1


def test_table_2_breaks_no_word_of_names_and_headers_at_80_columns() -> None:
    kept = {"bytes": 137 * 2**20, "capacity": 787.0}
    apd = replace(record_of([88.0, 90.0], method="apd"), kept=kept)
    (grid,) = table2_sheet([apd]).grids
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*render_rich([grid]))
    lines = capture.get().splitlines()
    words = {word for line in lines for word in line.split()}
    assert {word for name in grid.header[3:] for word in name.split()} <= words
    assert {word for row in grid.cells for word in " ".join(row[:3]).split()} <= words
    assert "-4.19±0.33" in words
