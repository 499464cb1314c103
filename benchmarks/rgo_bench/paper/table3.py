"""The paper's Table 3: how well networks fit what they are trained on."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from rgo_bench.paper.choices import SEEDS, chosen
from rgo_bench.paper.published import PublishedFit, compared_networks, published_fits
from rgo_bench.records import Record, variant_options
from rgo_bench.records.groups import Run, group_by_run
from rgo_bench.report.tables import Spread, spread_of
from rgo_bench.runs.spec import Spec, make_spec

# The streams in the table's order, with what differs there from Table 1.
STREAMS: Final[dict[str, dict[str, Any]]] = {
    "split-cifar100": {"epochs": 20},
    "split-miniimagenet": {"epochs": 20, "lr": 0.01},
}

# RGO in the paper's form, and in ours: samples are fitted in 20 epochs and their
# curvature fades, so that an absolute damping protects too little.
PAPERS_FORM: Final = "paper's"
OUR_FORM: Final = "ours"
FORMS: Final[dict[str, dict[str, Any]]] = {
    PAPERS_FORM: {"preset": "paper"},
    OUR_FORM: {"relative": True},
}
# What titles say of them.
NOTE: Final = "RGO: the paper's form is preset=paper, ours relative=true"


class FitRow(NamedTuple):
    """One run; accuracies in percent."""

    run: Run
    seeds: int  # how many
    train: Spread | None  # None where a record does not tell it, here and of the gap
    test: Spread
    gap: Spread | None  # train less test
    bwt: Spread
    paper: PublishedFit | None

    @property
    def form(self) -> str:
        """Which of `FORMS` RGO has; empty for other methods."""
        return form_of(self.run.method, self.run.variant)

    @property
    def test_difference(self) -> float | None:
        """Our accuracy on test samples less the paper's."""
        return None if self.paper is None else self.test.mean - self.paper.test


def table3_specs(
    *,
    seeds: Iterable[int] = SEEDS,
    streams: Iterable[str] | None = None,
    networks: Iterable[str] | None = None,
    data: Path | None = None,
) -> list[Spec]:
    """Return the runs of Table 3: STL and RGO on each network of each stream.

    RGO in both `FORMS`; STL on RGO's network and on the paper's own, where that is
    another (`own_network`).

    Parameters
    ----------
    seeds : iterable of int
        The paper's five by default.
    streams, networks : iterable of str, optional
        Only these; all that the table has where None.
    data : Path, optional
        The folder of the streams' data.

    Returns
    -------
    list of Spec
        All of one seed before those of the next.

    Raises
    ------
    ValueError
        If the table does not have such a stream or network.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    Table 3.
    """
    cells = [
        (stream, method, network, options)
        for stream in chosen("stream", streams, STREAMS)
        for of_paper, method in published_fits(stream)
        for network in compared_networks(of_paper, method)
        for options in (FORMS.values() if method == "rgo" else [{}])
    ]
    kept = chosen("network", networks, [network for _, _, network, _ in cells])
    return [
        make_spec(
            *(stream, method, seed, STREAMS[stream] | options),
            network=network,
            data=data,
        )
        for seed, (stream, method, network, options) in product(seeds, cells)
        if network in kept
    ]


def table3_rows(records: Iterable[Record]) -> list[FitRow]:
    """Return one row for each run, in the order of the paper.

    Parameters
    ----------
    records : iterable of Record
        Of the runs of `table3_specs`.

    Returns
    -------
    list of FitRow
    """
    rows = [_row(run, group) for run, group in group_by_run(records).items()]
    return sorted(rows, key=_place)


def form_of(method: str, variant: str) -> str:
    """Return which of `FORMS` a run of the table has; empty where it is not RGO's."""
    if method != "rgo":
        return ""
    return PAPERS_FORM if "softmax" in variant_options(variant) else OUR_FORM


def _row(run: Run, group: Sequence[Record]) -> FitRow:
    trains = [record.train_acc for record in group if record.train_acc is not None]
    train = gap = None
    if len(trains) == len(group):
        train = spread_of(trains)
        gap = spread_of(a - b.acc for a, b in zip(trains, group, strict=True))
    test = spread_of(record.acc for record in group)
    bwt = spread_of(record.bwt for record in group)
    return FitRow(run, len(group), train, test, gap, bwt, _published(run))


def _published(run: Run) -> PublishedFit | None:
    for (network, method), fit in published_fits(run.stream).items():
        if method == run.method and run.network in compared_networks(network, method):
            return fit
    return None


def _place(row: FitRow) -> tuple[int, int, int]:
    stream = row.run.stream
    cells = [
        (each, method)
        for network, method in published_fits(stream)
        for each in compared_networks(network, method)
    ]
    return (
        list(STREAMS).index(stream),
        cells.index((row.run.network, row.run.method)),
        ["", *FORMS].index(row.form),
    )
