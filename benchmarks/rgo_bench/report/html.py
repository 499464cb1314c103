"""Elements of HTML, as text."""

from collections.abc import Iterable
from html import escape
from typing import final

_VOID = ("img", "meta")


@final
class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | int) -> Html:
    """Return an element.

    Parameters
    ----------
    name : str
        Its tag.
    *children : str
        What it holds; escaped, unless it is `Html`.
    **attributes : str or int
        An underscore stands for a hyphen, and one at the end for nothing: `class_`.

    Returns
    -------
    Html

    Examples
    --------
    >>> element("td", "a < b", class_="name")
    '<td class="name">a &lt; b</td>'
    """
    stated = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    opening = f"<{name}{stated}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Return parts in a row, those escaped that are not `Html`."""
    return Html(
        "".join(each if isinstance(each, Html) else escape(each) for each in parts)
    )


def scroll_box(label: str, *children: str) -> Html:
    """Return a box that scrolls sideways on its own, by keyboard too."""
    return element(
        "div", *children, class_="scroll", role="region", aria_label=label, tabindex=0
    )


def run_name(method: str, *details: str) -> Html:
    """Return the name of a run as the head of its row, details in smaller print."""
    small = (element("span", breakable(each), class_="detail") for each in details)
    return element("th", method, *small, scope="row")


def breakable(text: str) -> Html:
    """Return a text whose lines may be broken after commas."""
    first, *others = text.split(",")
    return join([first, *(join([",", Html("<wbr>"), each]) for each in others)])


def minus(text: str) -> str:
    """Return a number with a real minus sign.

    Examples
    --------
    >>> minus("-1.76")
    '−1.76'
    """
    return text.replace("-", "−")
