from bench.page_elements import cells, read_page

from rgo_bench.measure.cost import Cost, summarize_costs
from rgo_bench.records import PHASES
from rgo_bench.report.html_tables import cost_tables

SECONDS = dict(zip(PHASES, (1.0, 0.5, 0.2, 0.3), strict=True))


def test_what_cost_measures_is_shown_in_its_order() -> None:
    costs = [Cost("sgd", 2.0, SECONDS, 300.0), Cost("rgo", 3.0, SECONDS, 330.0)]
    environment = {"device": "cpu"}
    measured = {
        "stream": "permuted-digits",
        "options": {"tasks": 3, "a": "<b>"},
        "rows": summarize_costs(costs),
        "environment": environment,
    }
    page = read_page(cost_tables([measured], [{"device": "gpu"}, environment]))
    caption = page.one("caption").text
    assert caption == "permuted-digits, side by side tasks=3, a=<b> in E2"
    heads = [head.text for head in page.one("thead").all("th")]
    assert heads[:4] == ["method", "runs", "seconds", "÷ sgd"]
    sgd, rgo = page.one("tbody").all("tr")
    phases = ["1.0", "0.5", "0.2", "0.3"]
    assert cells(sgd) == ["sgd", "1", "2.0", "1.00", *phases, "300", "1.00"]
    assert cells(rgo) == ["rgo", "1", "3.0", "1.50", *phases, "330", "1.10"]
    assert len(heads) == len(cells(rgo))
