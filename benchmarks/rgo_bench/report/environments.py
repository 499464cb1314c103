"""What the runs ran on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rgo_bench.report.html import Html, element, join

Environment: TypeAlias = Mapping[str, Any]


def distinct_environments(environments: Iterable[Environment]) -> list[Environment]:
    """Return every environment once, in order of appearance."""
    found: list[Environment] = []
    for environment in environments:
        if environment not in found:
            found.append(environment)
    return found


def environment_link(place: int) -> Html:
    """Return a link to an environment, by its place among the distinct ones."""
    name = element("a", f"E{place + 1}", href=f"#environment-{place + 1}")
    return element("span", "in ", name, class_="detail")


def environment_cards(environments: Sequence[Environment]) -> Html:
    """Return what each of the distinct environments is."""
    cards = (
        element(
            "section",
            element("h3", f"E{place}"),
            element(
                "dl",
                *(
                    join([element("dt", key), element("dd", str(value))])
                    for key, value in environment.items()
                ),
            ),
            id=f"environment-{place}",
        )
        for place, environment in enumerate(environments, start=1)
    )
    return element("div", *cards, class_="environments")
