"""The paper's Table 3: how well networks fit what they are trained on."""

from collections.abc import Iterable
from typing import Any, Final

import pandas as pd

from rgo_bench.paper.choices import SEEDS, chosen, specs_of
from rgo_bench.paper.published import PublishedFit, compared_networks, published_fits
from rgo_bench.records import Record, variant_options
from rgo_bench.records.frame import runs_frame
from rgo_bench.records.groups import Run
from rgo_bench.runs.spec import Spec

# The streams in the table's order, with what differs there from Table 1.
STREAMS: Final[dict[str, dict[str, Any]]] = {
    "split-cifar100": {"epochs": 20},
    "split-miniimagenet": {"epochs": 20, "lr": 0.01},
}

# RGO in the paper's form, and as it is by default, scaled and not.
PAPERS_FORM: Final = "paper's"
SCALED_FORM: Final = "scaled"
OUR_FORM: Final = "ours"
FORMS: Final[dict[str, dict[str, Any]]] = {
    PAPERS_FORM: {"preset": "paper"},
    SCALED_FORM: {"weights": "normalized"},
    OUR_FORM: {},
}
# What titles say of them.
NOTE: Final = (
    "RGO: the paper's form is preset=paper, scaled weights=normalized, ours the default"
)


PAPERS: Final = [f"paper_{name}" for name in PublishedFit._fields]


def table3_specs(
    *,
    seeds: Iterable[int] = SEEDS,
    streams: Iterable[str] | None = None,
    networks: Iterable[str] | None = None,
) -> list[Spec]:
    """Return the runs of Table 3: STL and RGO on each network of each stream.

    RGO in each of `FORMS`; STL on RGO's network and on the paper's own, where that is
    another (`own_network`).

    Raises
    ------
    ValueError
        If the table does not have such a stream or network.
    """
    cells = [
        (stream, method, network, STREAMS[stream] | options)
        for stream in chosen("stream", streams, STREAMS)
        for network, method in _cells(stream)
        for options in (FORMS.values() if method == "rgo" else [{}])
    ]
    return specs_of(cells, seeds=seeds, networks=networks)


def table3_rows(records: Iterable[Record]) -> pd.DataFrame:
    """Return a row for each run of `table3_specs`, in the order of the paper.

    That is `runs_frame`, with the accuracy on test samples as ``test``, which of
    `FORMS` RGO has, the paper's numbers (`PAPERS`) and what our accuracy differs by.
    """
    rows = runs_frame(records).rename(columns={"acc": "test", "acc_std": "test_std"})
    rows["form"] = list(map(form_of, rows.method, rows.variant))
    papers = [_cells(run.stream)[run.network, run.method] for run in rows.run]
    rows[PAPERS] = pd.DataFrame(papers, columns=PAPERS, dtype=float)
    rows["test_difference"] = rows.test - rows.paper_test
    places = list(map(_place, rows.run, rows.form))
    return rows.iloc[sorted(range(len(rows)), key=places.__getitem__)]


def form_of(method: str, variant: str) -> str:
    """Return which of `FORMS` a run of the table has; empty where it is not RGO's."""
    if method != "rgo":
        return ""
    named = variant_options(variant)
    if "softmax" in named:
        return PAPERS_FORM
    return SCALED_FORM if "weights" in named else OUR_FORM


def _cells(stream: str) -> dict[tuple[str, str], PublishedFit]:
    """Return the paper's numbers by network and method, of all that are compared."""
    return {
        (network, method): fit
        for (of_paper, method), fit in published_fits(stream).items()
        for network in compared_networks(of_paper, method)
    }


def _place(run: Run, form: str) -> tuple[int, int, int]:
    return (
        list(STREAMS).index(run.stream),
        list(_cells(run.stream)).index((run.network, run.method)),
        ["", *FORMS].index(form),
    )
