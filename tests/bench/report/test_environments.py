from bench.page_elements import read_page

from rgo_bench.report.html import fill
from rgo_bench.report.timings import distinct_environments


def test_every_environment_is_there_once_in_order() -> None:
    one, two = {"device": "cpu"}, {"device": "<gpu>", "threads": 2}
    assert distinct_environments([two, one, dict(two)]) == [two, one]


def test_a_card_states_every_entry_and_is_where_the_link_points() -> None:
    environment = {"device": "<gpu>", "threads": 2}
    card = read_page(fill("environments", [environment])).one("section")
    link = read_page(fill("link", 0)).one("a")
    assert link.attributes["href"] == f"#{card.attributes['id']}"
    assert card.one("h3").text == link.text == "E1"
    assert [each.text for each in card.all("dt")] == ["device", "threads"]
    assert [each.text for each in card.all("dd")] == ["<gpu>", "2"]
