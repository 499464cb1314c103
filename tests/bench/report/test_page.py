import re

import pytest
from bench.page_elements import Element, cells, read_page
from bench.sample_records import make_record, record_of

from rgo_bench.paper.accuracies import table_rows
from rgo_bench.records import Record
from rgo_bench.report.page import report_html
from rgo_bench.sheets import decimal_text, spread_text

HOSTILE = "a=%3Cscript%3E,b=<script>alert(1)</script>&amp;\"'"


def records() -> list[Record]:
    other = {"python": "3.12", "device": "gpu"}
    config = {"tasks": 2}
    return [
        record_of([80.0, 90.0], config=config),
        record_of([70.0, 90.0], seed=1, config=config, environment=other),
        make_record(variant=HOSTILE),
        make_record(method="sgd", config=config),
        make_record(stream="permuted-digits", method="mine", network="lenet"),
    ]


@pytest.fixture(scope="module")
def text() -> str:
    return report_html(records())


@pytest.fixture(scope="module")
def page(text: str) -> Element:
    return read_page(text)


def test_every_run_is_in_every_part(page: Element) -> None:
    parts = {each.attributes.get("id"): each for each in page.all("section")}
    labels = [HOSTILE, "sgd", "mine"]
    for name in ("accuracy", "what-is-kept", "time"):
        assert [label for label in labels if label not in parts[name].text] == []
    assert len(parts["commands"].all("code")) == 4
    assert len(parts["figure-1"].all("svg")) == 2
    assert len(parts["environments"].all("dl")) == 2


def test_numbers_are_those_of_the_tables(page: Element) -> None:
    shown = {}
    for table in page.all("section")[0].all("table"):
        for row in table.one("tbody").all("tr"):
            stream = table.one("caption").text.split()[0]
            shown[stream, row.one("th").text] = cells(row)[1:]
    rows = table_rows(records())
    assert len(shown) == len(rows)
    for row in rows.itertuples():
        numbers = shown[row.stream, row.method + row.variant]
        spreads = ((row.acc, row.acc_std), (row.bwt, row.bwt_std))
        ours = [spread_text(*spread, row.seeds) for spread in spreads]
        assert numbers[:3] == [str(row.seeds), *ours]
        if row.paper_acc > 0:
            assert numbers[5] == decimal_text(row.acc_difference, sign="+")


def test_the_papers_streams_come_first(page: Element) -> None:
    captions = [each.text.split()[0] for each in page.all("caption")]
    assert captions[:2] == ["permuted-mnist", "permuted-digits"]


def test_the_page_needs_no_network(text: str, page: Element) -> None:
    for each in page.inside():
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            value = each.attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,")), value
        assert each.tag not in ("script", "link", "iframe", "object", "base")
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in page.one("style").text


def test_links_inside_the_page_have_a_target_of_that_name_alone(page: Element) -> None:
    names = [e.attributes["id"] for e in page.inside() if "id" in e.attributes]
    assert len(names) == len(set(names))
    links = {(link.attributes["href"] or "")[1:] for link in page.all("a")}
    assert links <= set(names)


def test_the_page_is_made_for_readers_of_every_kind(page: Element) -> None:
    assert page.one("html").attributes["lang"] == "en"
    assert len(page.all("h1")) == 1
    for image in page.all("img"):
        assert image.attributes["alt"]
    for table in page.all("table"):
        assert table.one("caption").text
        assert all("scope" in head.attributes for head in table.all("th"))
    style = page.one("style").text
    for medium in ("prefers-color-scheme: dark", "@media print", "max-width"):
        assert medium in style


def test_a_hostile_name_is_text(text: str) -> None:
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_costs_are_shown_with_the_environment_they_were_measured_in() -> None:
    seconds = {"train": 1.0, "curvature": 0.0, "consolidate": 0.0, "evaluate": 0.5}
    row = {"method": "sgd", "runs": 3, "total": 1.6, "seconds": seconds}
    row |= {"peak": 300.0, "time_ratio": 1.0, "memory_ratio": 1.0}
    cost = {"stream": "permuted-digits", "options": {}, "rows": [row]}
    cost["environment"] = {"device": "another"}
    page = read_page(report_html([make_record()], [cost]))
    assert "Side by side" in page.text
    assert page.all("dl")[1].text == "deviceanother"


@pytest.mark.parametrize(
    "record",
    [
        make_record(),
        make_record(stream="mine", accuracy=((50.0,),), environment={}, config={}),
        make_record(variant=HOSTILE),
    ],
    ids=["plain", "bare", "hostile"],
)
def test_one_record_makes_a_page_and_always_the_same(record: Record) -> None:
    text = report_html([record])
    assert len(read_page(text).all("svg")) == 1
    assert "1 run of 1 method on 1 stream" in text
    assert report_html([record]) == text


def test_no_records_make_no_page() -> None:
    message = "records: expected at least one to report, got none"
    with pytest.raises(ValueError, match=re.escape(message)):
        report_html([])
