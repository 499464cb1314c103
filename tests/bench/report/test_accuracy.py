from bench.page_elements import cells, read_page
from bench.sample_records import make_record, record_of

from rgo_bench.paper.accuracies import table_rows
from rgo_bench.report.html_tables import accuracy_tables


def test_numbers_are_those_of_the_rows_beside_the_papers() -> None:
    records = [record_of([last, 90.0], seed=i) for i, last in enumerate((90.0, 92.0))]
    page = read_page(accuracy_tables(table_rows(records)))
    assert cells(page.one("tbody").one("tr")) == [
        *("rgo", "2", "90.50 ± 0.50", "1.00 ± 1.00"),
        *("91.15 ± 0.20", "-2.05 ± 0.09", "-0.65", "-3.3", "+3.05", "+34"),
    ]


def test_agreement_is_marked_by_more_than_color() -> None:
    near, far = record_of([90.4, 91.9]), record_of([80.0, 90.0], variant="per=batch")
    page = read_page(accuracy_tables(table_rows([near, far])))
    marks = [row.all("span", "agrees") for row in page.one("tbody").all("tr")]
    assert [[mark.text for mark in row] for row in marks] == [["✓"], []]


def test_the_papers_columns_are_left_out_where_it_has_no_number() -> None:
    rows = table_rows([make_record(stream="permuted-digits")])
    page = read_page(accuracy_tables(rows))
    assert [th.text for th in page.one("thead").all("th")] == [
        *("method", "seeds", "ours", "ACC", "BWT"),
    ]
    assert len(cells(page.one("tbody").one("tr"))) == 4


def test_a_run_that_cannot_be_compared_says_so() -> None:
    rows = table_rows([make_record(), make_record(method="owm")])
    page = read_page(accuracy_tables(rows))
    first, second = page.one("tbody").all("tr")
    assert cells(second)[4:] == ["not compared"]
    spans = [cell.attributes.get("colspan") for cell in second.all("td")]
    assert spans[-1] == str(len(first.all("td")) - len(spans) + 1)


def test_a_deviation_of_zero_gives_no_ratio() -> None:
    page = read_page(accuracy_tables(table_rows([make_record(method="stl")])))
    assert cells(page.one("tbody").one("tr"))[-1] == ""


def test_every_column_has_a_head_and_every_table_a_caption() -> None:
    records = [make_record(), make_record(stream="rotated-mnist", backend="jax")]
    page = read_page(accuracy_tables(table_rows(records)))
    captions = [caption.text for caption in page.all("caption")]
    assert captions == ["permuted-mnist mlp, torch", "rotated-mnist mlp, jax"]
    for table in page.all("table"):
        assert all(head.attributes["scope"] for head in table.all("th"))
        upper, lower = table.one("thead").all("tr")
        spans = [int(th.attributes.get("colspan") or 1) for th in upper.all("th")]
        assert sum(spans) == 2 + len(lower.all("th"))
        assert len(cells(table.one("tbody").one("tr"))) == sum(spans)


def test_a_name_that_is_not_common_to_all_stands_in_the_row() -> None:
    rows = table_rows([make_record(), make_record(backend="jax")])
    page = read_page(accuracy_tables(rows))
    assert page.one("caption").text == "permuted-mnist mlp"
    heads = [row.one("th").text for row in page.one("tbody").all("tr")]
    assert heads == ["rgojax", "rgotorch"]
