"""What the runs ran on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from markupsafe import Markup

from rgo_bench.report.html import fill

Environment: TypeAlias = Mapping[str, Any]


def distinct_environments(environments: Iterable[Environment]) -> list[Environment]:
    """Return every environment once, in order of appearance."""
    found: list[Environment] = []
    for environment in environments:
        if environment not in found:
            found.append(environment)
    return found


def environment_cards(environments: Sequence[Environment]) -> Markup:
    """Return what each of the distinct environments is."""
    return fill("environments", environments)
