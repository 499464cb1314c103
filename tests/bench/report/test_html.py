from bench.page_elements import read_page

from rgo_bench.report.html import (
    Html,
    breakable,
    element,
    join,
    minus,
    run_name,
    scroll_box,
)

HOSTILE = "<script>alert('&\"')</script>"


def test_text_is_escaped_and_markup_is_not() -> None:
    inner = element("b", HOSTILE)
    assert read_page(element("p", "a < b & ", inner)).text == f"a < b & {HOSTILE}"
    assert [each.tag for each in read_page(element("p", inner)).inside()] == ["p", "b"]
    assert join(["<", Html("<")]) == "&lt;<"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    made = element("td", title=HOSTILE, class_="a", aria_label="b", colspan=2)
    assert read_page(made).one("td").attributes == {
        "title": HOSTILE,
        "class": "a",
        "aria-label": "b",
        "colspan": "2",
    }


def test_an_element_without_content_has_no_end() -> None:
    assert element("img", src="a", alt="") == '<img src="a" alt="">'
    assert element("td") == "<td></td>"


def test_a_wide_table_scrolls_in_a_box_that_the_keyboard_reaches() -> None:
    box = read_page(scroll_box("name", "text")).one("div", "scroll")
    assert (box.attributes["role"], box.attributes["tabindex"]) == ("region", "0")
    assert (box.attributes["aria-label"], box.text) == ("name", "text")


def test_the_name_of_a_run_is_the_head_of_its_row() -> None:
    head = read_page(run_name("rgo", HOSTILE)).one("th")
    assert head.attributes == {"scope": "row"}
    assert head.one("span", "detail").text == HOSTILE


def test_a_text_may_be_broken_after_commas_and_reads_the_same() -> None:
    assert breakable("a=1,b=<2>") == "a=1,<wbr>b=&lt;2&gt;"
    assert breakable("") == ""


def test_a_minus_is_not_a_hyphen() -> None:
    assert minus("-1.76 ± 0.10") == "\N{MINUS SIGN}1.76 ± 0.10"
