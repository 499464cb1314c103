"""The demonstration: what forgetting looks like, on real digits, in under a minute."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rgo_bench.records import Record
from rgo_bench.runs.spec import Spec, make_spec

STREAM: Final = "permuted-digits"
METHODS: Final = ("sgd", "rgo-2", "rgo", "stl")


def demo_specs(seed: int = 0) -> Iterator[Spec]:
    """Yield the runs of the demonstration: four methods on permuted digits."""
    for method in METHODS:
        yield make_spec(STREAM, method, seed)


def write_plot(records: list[Record], path: Path) -> None:
    """Draw the average accuracy over the tasks seen, as a picture file."""
    from rgo_bench.report.plots import figure_average_accuracy  # loads Matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    figure_average_accuracy(records).savefig(path, dpi=150)
