"""The page's parts, filled in: everything that stands in them is escaped by Jinja."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup


def fill(part: str, *values: Any, **named: Any) -> Markup:
    """Return a part of the page, a macro of ``parts.html``, made of values."""
    macro: Markup = getattr(template("parts.html").module, part)(*values, **named)
    return macro


@cache
def template(name: str) -> Template:
    """Return one of the templates beside this file."""
    environment = Environment(
        loader=PackageLoader("rgo_bench.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"breakable": breakable, "minus": minus}
    return environment.get_template(name)


def breakable(text: str) -> Markup:
    """Return a text whose lines may be broken after commas."""
    return Markup(",<wbr>").join(text.split(","))


def minus(text: str) -> str:
    """Return a number with a real minus sign, as in −1.76."""
    return text.replace("-", "\N{MINUS SIGN}")
