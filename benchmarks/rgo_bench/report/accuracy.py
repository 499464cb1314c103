"""The tables of accuracies: ours beside the paper's."""

from collections.abc import Sequence
from itertools import groupby

from rgo_bench.report.grids import decimal_text, deviations_text, spread_text
from rgo_bench.report.html import Html, element, join, minus, run_name, scroll_box
from rgo_bench.report.tables import Row

_SIGMA = element("abbr", "σ", title="in standard deviations of the paper's seeds")


def accuracy_tables(rows: Sequence[Row]) -> Html:
    """Return the table of each stream.

    Parameters
    ----------
    rows : sequence of Row
        Those of a stream beside each other.

    Returns
    -------
    Html
        The paper's columns are left out where it has no number.
    """
    streams = groupby(rows, key=lambda row: row.run.stream)
    return join(_table(stream, list(own)) for stream, own in streams)


def common_names(rows: Sequence[Row]) -> list[str]:
    """Return the network and the backend, each if it is the same in all rows."""
    columns = zip(*((row.run.network, row.run.backend) for row in rows), strict=True)
    return [column[0] for column in columns if len(set(column)) == 1]


def row_name(row: Row, common: Sequence[str]) -> Html:
    """Return the head of a row: the method, and what else tells it from the others."""
    own = [name for name in (row.run.network, row.run.backend) if name not in common]
    details = (row.run.variant, ", ".join(own))
    return run_name(row.run.method, *filter(None, details))


def _table(stream: str, rows: list[Row]) -> Html:
    compared = any(row.paper for row in rows)
    common = common_names(rows)
    body = (
        element(
            "tr",
            row_name(row, common),
            _number(str(row.seeds)),
            _number(spread_text(row.acc, row.seeds)),
            _number(spread_text(row.bwt, row.seeds)),
            *(_comparison(row) if compared else ()),
        )
        for row in rows
    )
    names = element("span", ", ".join(common), class_="detail")
    table = element(
        "table",
        element("caption", stream, " ", names),
        _head(compared),
        element("tbody", *body),
    )
    return scroll_box(f"accuracy on {stream}", table)


def _head(compared: bool) -> Html:
    first = (
        element("th", "method", scope="col", rowspan=2),
        element("th", "seeds", scope="col", rowspan=2),
    )
    groups = (("ours", 2), ("paper", 2), ("difference", 4))[: 3 if compared else 1]
    measures: tuple[str, ...] = ("ACC", "BWT")
    if compared:
        measures += ("ACC", "BWT", "ACC", _SIGMA, "BWT", _SIGMA)
    return element(
        "thead",
        element(
            "tr",
            *first,
            *(
                element("th", name, scope="colgroup", colspan=span, class_="group")
                for name, span in groups
            ),
        ),
        element("tr", *(element("th", name, scope="col") for name in measures)),
    )


def _comparison(row: Row) -> tuple[Html, ...]:
    if row.paper is None:
        return (element("td", "not compared", colspan=6, class_="none"),)
    acc, acc_std, bwt, bwt_std, _ = row.paper
    return (
        _number(f"{decimal_text(acc)} ± {decimal_text(acc_std)}", "papers"),
        _number(f"{decimal_text(bwt)} ± {decimal_text(bwt_std)}", "papers"),
        _acc_difference(row),
        _number(deviations_text(row.acc_deviations), "deviations"),
        _number(decimal_text(row.bwt_difference or 0.0, sign="+")),
        _number(deviations_text(row.bwt_deviations), "deviations"),
    )


def _acc_difference(row: Row) -> Html:
    text = minus(decimal_text(row.acc_difference or 0.0, sign="+"))
    if not row.agrees:
        return element("td", text)
    return element("td", element("span", "✓", title="agrees", class_="agrees"), text)


def _number(text: str, kind: str = "") -> Html:
    return element("td", minus(text), **({"class_": kind} if kind else {}))
