import re

from bench.page_elements import read_page
from bench.sample_records import make_record, record_of

from rgo_bench.report.evolution import evolution_figures

STREAMS = ("permuted-mnist", "rotated-mnist")


def test_every_stream_has_a_drawing_with_words() -> None:
    records = [make_record(stream=name) for name in STREAMS]
    records.insert(1, record_of([40.0, 90.0], method="sgd"))
    page = read_page(evolution_figures(records))
    assert [each.text for each in page.all("figcaption")] == list(STREAMS)
    words = [
        each.attributes["aria-label"]
        for each in page.all("div")
        if each.attributes.get("role") == "img"
    ]
    assert words == [
        "Average accuracy in percent on permuted-mnist after the last task: "
        "rgo 87.1, sgd 65.0.",
        "Average accuracy in percent on rotated-mnist after the last task: rgo 87.1.",
    ]


def test_names_in_the_drawings_are_text() -> None:
    page = read_page(evolution_figures([make_record(method="<mine>")]))
    assert page.all("style") == []
    texts = [each.text.strip() for each in page.all("text")]
    assert {"<mine>", "tasks seen", "permuted-mnist"} <= set(texts)


def test_runs_with_changed_options_are_drawn_where_there_are_no_others() -> None:
    plain, changed = make_record(), make_record(variant="per=batch")
    both = evolution_figures([plain, changed])
    assert "per=batch" not in both
    assert both == evolution_figures([plain])
    assert "rgo (per=batch)" in evolution_figures([changed])


def test_drawings_do_not_share_names_and_point_at_their_own() -> None:
    text = evolution_figures([make_record(stream=name) for name in STREAMS])
    names = re.findall(r'\bid="([^"]*)"', text)
    assert len(names) == len(set(names))
    assert {name.partition("-mnist-")[0] for name in names} == {"permuted", "rotated"}
    targets = re.findall(r'href="#([^"]*)"', text) + re.findall(
        r"url\(#([^)]*)\)", text
    )
    assert targets
    assert set(targets) <= set(names)


def test_dark_lines_and_text_take_the_color_of_the_page() -> None:
    text = evolution_figures([make_record()])
    assert "#000000" not in text
    assert "currentColor" in text


def test_the_same_records_make_the_same_drawing() -> None:
    records = [make_record()]
    assert evolution_figures(records) == evolution_figures(records)
