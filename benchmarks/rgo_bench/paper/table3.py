"""The paper's Table 3: how well networks fit what they are trained on."""

from collections.abc import Iterable
from typing import Any, Final

import pandas as pd

from rgo_bench.paper.choices import SEEDS, chosen, specs_of
from rgo_bench.paper.published import (
    PublishedFit,
    compared_networks,
    own_network,
    published_fits,
)
from rgo_bench.records import Record, variant_options
from rgo_bench.records.frame import RUN, runs_frame
from rgo_bench.records.groups import Run
from rgo_bench.runs.spec import Spec
from rgo_bench.sheets import (
    Cell,
    Grid,
    Sheet,
    decimal_text,
    signed,
    spread,
    spread_text,
)

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
NOT_RUN: Final = "not run"

PAPERS: Final = [f"paper_{name}" for name in PublishedFit._fields]
_OVERVIEW: Final = (
    *("network", "whose", "STL own", "STL RGO's"),
    *("RGO paper's", "BWT", "RGO ours", "BWT"),
)
_NAMES: Final = ("network", "method", "form")
_OURS: Final[dict[str, Cell]] = {
    "seeds": lambda row: str(row.seeds),
    **{name: spread(name) for name in ("train", "test", "gap")},
    "BWT": spread("bwt"),
    "Δ test": signed("test_difference"),
}
_PAPERS: Final[dict[str, Cell]] = {
    "seeds": lambda row: str(len(SEEDS)),
    "train": spread("paper_train", seeds=len(SEEDS)),
    "test": spread("paper_test", seeds=len(SEEDS)),
    "gap": lambda row: decimal_text(row.paper_train - row.paper_test),
    "BWT": spread("paper_bwt", seeds=len(SEEDS)),
    "Δ test": lambda row: "",
}
_COLUMNS: Final = [
    *(*RUN, "form", "seeds", "train", "train_std", "test", "test_std"),
    *("gap", "gap_std", "bwt", "bwt_std", *PAPERS, "test_difference"),
]
# What stands for a run that there is no record of.
_ABSENT: Final = pd.Series(float("nan"), index=[*_COLUMNS, "bwt_difference"])


def table3_specs(
    *,
    seeds: Iterable[int] = SEEDS,
    streams: Iterable[str] | None = None,
    networks: Iterable[str] | None = None,
) -> list[Spec]:
    """Return the runs of Table 3: STL and RGO on each network of each stream.

    RGO in each of `FORMS`; STL on RGO's network and on the paper's own, where that is
    another (`own_network`).
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
    `FORMS` RGO has, the paper's numbers (`PAPERS`) and what ours differ by.
    """
    rows = runs_frame(records).rename(columns={"acc": "test", "acc_std": "test_std"})
    rows["form"] = list(map(form_of, rows.method, rows.variant))
    papers = [_cells(run.stream)[run.network, run.method] for run in rows.run]
    rows[PAPERS] = pd.DataFrame(papers, columns=PAPERS, dtype=float)
    for name in ("test", "bwt"):
        rows[f"{name}_difference"] = rows[name] - rows[f"paper_{name}"]
    places = list(map(_place, rows.run, rows.form))
    return rows.iloc[sorted(range(len(rows)), key=places.__getitem__)]


def table3_sheet(records: Iterable[Record]) -> Sheet:
    """Return Table 3.

    First a grid for each stream, of all networks of the paper: the accuracy on test
    samples of STL with its own network and with RGO's, and of RGO in the paper's form
    and in ours, then the paper's, then the difference; what there is no record of is
    `NOT_RUN`. Then the runs that there are, the paper's row below each.
    """
    rows = table3_rows(records)
    grids = [_overview(stream, rows[rows.stream == stream]) for stream in STREAMS]
    grids += [_runs(stream, own) for stream, own in rows.groupby("stream", sort=False)]
    return Sheet(grids, rows[_COLUMNS])


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


def _overview(stream: str, rows: pd.DataFrame) -> Grid:
    found = {(r.network, r.method, r.form): r for r in rows.itertuples()}
    networks = dict.fromkeys(network for network, _ in published_fits(stream))
    cells = [line for name in networks for line in _of_network(stream, name, found)]
    title = f"{stream}, Table 3: STL with its own network and with RGO's"
    return Grid(title, _OVERVIEW, cells, 2)


def _of_network(
    stream: str, network: str, found: dict[tuple[str, str, str], Any]
) -> list[tuple[str, ...]]:
    """Return ours, the paper's and the difference."""
    fits = published_fits(stream)
    stl, rgo = fits[network, "stl"], fits[network, "rgo"]
    apart = found.get((own_network(network, "stl"), "stl", ""), _ABSENT)
    same = found.get((network, "stl", ""), _ABSENT)
    ours = [_test(apart), _test(same)]
    difference = [signed("test_difference")(apart), ""]
    for form in (PAPERS_FORM, OUR_FORM):
        row = found.get((network, "rgo", form), _ABSENT)
        ours += [_test(row), spread("bwt")(row)]
        difference += [signed(f"{name}_difference")(row) for name in ("test", "bwt")]
    once = spread_text(stl.test, stl.test_std), ""
    twice = spread_text(rgo.test, rgo.test_std), spread_text(rgo.bwt, rgo.bwt_std)
    cells = [(network, "ours", *ours), (network, "paper", *once, *twice, *twice)]
    return [*cells, *([(network, "Δ", *difference)] if any(difference) else [])]


def _test(row: Any) -> str:
    return spread("test")(row) or NOT_RUN


def _runs(stream: str, rows: pd.DataFrame) -> Grid:
    cells: list[tuple[str, ...]] = []
    for row in rows.itertuples():
        names = tuple(getattr(row, name) for name in _NAMES)
        cells.append((*names, "ours", *(text(row) for text in _OURS.values())))
        cells.append((*names, "paper", *(text(row) for text in _PAPERS.values())))
    title = f"{stream}, Table 3 ({NOTE})"
    return Grid(title, (*_NAMES, "whose", *_OURS), cells, len(_NAMES) + 1)
