"""Figure 1: the average accuracy over the tasks seen."""

import io
import re
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup
from matplotlib import rc_context

from rgo_bench.paper.accuracies import table_rows
from rgo_bench.records import Record
from rgo_bench.report.html import fill
from rgo_bench.report.plots import figure_average_accuracy


def evolution_figures(records: Sequence[Record]) -> Markup:
    """Return a drawing (SVG) for each stream, of records beside each other.

    Where a stream has runs without a variant, only those are drawn. Dark lines and text
    take the color of the page's text.
    """
    streams = groupby(records, key=lambda record: record.stream)
    return fill("drawings", [(s, *_figure(s, list(own))) for s, own in streams])


def _figure(stream: str, records: list[Record]) -> tuple[str, str]:
    """Return a stream's drawing in words, and itself."""
    shown = [record for record in records if not record.variant] or records
    rows = table_rows(shown).sort_values("acc", ascending=False, kind="stable")
    ends = ", ".join(f"{row.run.label} {row.acc:.1f}" for row in rows.itertuples())
    words = f"Average accuracy in percent on {stream} after the last task: {ends}."
    content = io.StringIO()
    # Text as text, in the page's own font; names that are the same in every run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": stream}):
        figure_average_accuracy(shown).savefig(
            content, format="svg", transparent=True, metadata={"Date": None}
        )
    return words, _embeddable(content.getvalue(), stream)


def _embeddable(text: str, stream: str) -> str:
    """Return a drawing as part of a page that may hold others."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href").replace("#000000", "currentColor")
    # Too dark for a dark page.
    text = text.replace("#0072b2", "var(--blue)")
    prefix = re.sub(r"\W", "-", stream)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    # Of the drawing's own size: the page gives the width.
    opening = re.sub(r' (width|height)="[^"]*"', "", text[: text.index(">")])
    return opening + text[text.index(">") :]
