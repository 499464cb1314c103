from bench.page_elements import cells, read_page
from bench.sample_records import make_record, record_of

from rgo_bench.paper.tables import PAPER_TABLES
from rgo_bench.records import Record
from rgo_bench.report.html_tables import split_tables
from rgo_bench.report.page import report_html

LENET = "epochs=20,network=lenet-5"


def of(method: str, acc: float, options: str = "", seed: int = 0) -> Record:
    """A run of the tables, or one with other options."""
    return record_of(
        [acc, acc],
        stream="split-cifar100",
        method=method,
        network="lenet-5",
        variant=f"{LENET}{options}",
        seed=seed,
        train_accuracy=(99.0, 97.0),
    )


def test_numbers_are_those_of_the_sheets() -> None:
    records = [of("stl", 75.0), of("rgo", 80.0), of("rgo", 82.0, seed=1)]
    tables = read_page(split_tables(records)).all("table")
    grids = [g for n in ("2", "3") for g in PAPER_TABLES[n].sheet(records).grids]
    assert [table.one("caption").text for table in tables] == [g.title for g in grids]
    for table, grid in zip(tables, grids, strict=True):
        rows = table.one("tbody").all("tr")
        for row, expected in zip(rows, grid.cells, strict=True):
            numbers = expected[grid.names :]
            assert cells(row)[1:] == [text.replace("−", "-") for text in numbers]
            for name in expected[: grid.names]:
                assert name in row.one("th").text
        assert len(table.one("thead").all("th")) == len(cells(rows[0]))
        assert all(head.attributes["scope"] for head in table.all("th"))


def test_rows_that_are_not_ours_look_so() -> None:
    page = read_page(split_tables([of("stl", 75.0)]))
    fits = page.all("table")[-1].one("tbody").all("tr")
    assert [len(row.all("td", "papers")) > 0 for row in fits] == [False, True]


def test_only_runs_of_the_tables_are_shown() -> None:
    others = [make_record(), of("rgo", 80.0, options=",per=batch")]
    assert split_tables(others) == ""
    assert split_tables([*others, of("rgo", 80.0)]) == split_tables([of("rgo", 80.0)])


def test_the_page_has_them_where_there_are_records() -> None:
    with_them = read_page(report_html([of("rgo", 80.0)]))
    parts = [each.attributes.get("id") for each in with_them.all("section")]
    assert parts[:2] == ["accuracy", "tables-2-and-3"]
    without = read_page(report_html([make_record()]))
    parts = [each.attributes.get("id") for each in without.all("section")]
    assert "tables-2-and-3" not in parts
