import pytest
from bench.page_elements import read_page
from jinja2 import UndefinedError

from rgo_bench.report.html import breakable, fill, minus

HOSTILE = "<script>alert('&\"')</script>"
ROW = (HOSTILE, ["a=1,b=<2>", ""], "", ["-1.0"])


def test_text_is_escaped_wherever_it_stands() -> None:
    page = read_page(fill("table", HOSTILE, HOSTILE, [HOSTILE], [ROW]))
    box = page.one("div", "scroll")
    assert box.attributes["aria-label"] == HOSTILE
    assert page.one("caption").text == page.one("thead").one("th").text == HOSTILE
    assert not page.all("script")


def test_a_wide_table_scrolls_in_a_box_that_the_keyboard_reaches() -> None:
    box = read_page(fill("table", "name", "", [], [])).one("div", "scroll")
    assert (box.attributes["role"], box.attributes["tabindex"]) == ("region", "0")


def test_the_name_of_a_run_is_the_head_of_its_row() -> None:
    head = read_page(fill("table", "", "", [], [ROW])).one("tbody").one("th")
    assert head.attributes == {"scope": "row"}
    assert head.one("span", "detail").text == "a=1,b=<2>"


def test_what_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        fill("table", "label", "caption")


def test_a_text_may_be_broken_after_commas_and_reads_the_same() -> None:
    assert breakable("a=1,b=<2>") == "a=1,<wbr>b=&lt;2&gt;"
    assert breakable("") == ""


def test_a_minus_is_not_a_hyphen() -> None:
    assert minus("-1.76 ± 0.10") == "\N{MINUS SIGN}1.76 ± 0.10"
