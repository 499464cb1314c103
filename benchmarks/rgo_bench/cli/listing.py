"""The command ``list``."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Column, Table

from rgo_bench.cli.terminal import console
from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.spec import option_text
from rgo_bench.streams import STREAMS


def list_all() -> None:
    """List streams, methods and networks, with the options that --set takes.

    Where an option is one of several names, all are there, the default first, and N
    where it may be a number too. Below them, the options that a stream sets for a
    method unless told otherwise, and what --set preset=NAME stands for.
    """
    for kind, entries in (("stream", STREAMS), ("method", METHODS)):
        described = (
            (name, entry.summary, _listed(entry.defaults.as_dict(), entry.defaults))
            for name, entry in entries.items()
        )
        _show((kind, "what it is", "options"), described)
    protocols = (
        (name, method, _listed(options))
        for name, stream in STREAMS.items()
        for method, options in stream.protocol.items()
    )
    _show(("stream", "method", "options there"), protocols)
    presets = (
        (method, name, _listed(options))
        for method, known in METHODS.items()
        for name, options in known.presets.items()
    )
    _show(("method", "preset", "options"), presets)
    console.print("network ", *NETWORKS)


def _show(head: tuple[str, str, str], rows: Iterable[tuple[str, ...]]) -> None:
    name, middle, last = head
    # Narrow enough that no option is cut on 80 columns.
    narrow = Column(middle, max_width=24)
    table = Table(name, narrow, last, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table, "")


def _listed(options: Mapping[str, Any], defaults: Any = None) -> str:
    known = {} if defaults is None else defaults.choices
    numbered = () if defaults is None else defaults.numbered
    texts = []
    for key, value in options.items():
        values = dict.fromkeys([value, *known.get(key, ())])
        listed = [*map(option_text, values), *(["N"] if key in numbered else [])]
        texts.append(f"{key}={'|'.join(listed)}")
    return " ".join(texts)
