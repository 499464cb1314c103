"""The paper's Table 2: what RGO and expanding methods gain over STL."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rgo_bench.paper.choices import SEEDS, chosen
from rgo_bench.paper.published import PublishedGain, own_network, published_gains
from rgo_bench.paper.table3 import FORMS, form_of, table3_specs
from rgo_bench.paper.table3 import STREAMS as EPOCHS
from rgo_bench.paper.table3_sheet import NOT_RUN
from rgo_bench.records import Record
from rgo_bench.report.comparison import mebibytes
from rgo_bench.report.grids import Grid, Sheet, decimal_text, spread_text
from rgo_bench.report.tables import Spread, spread_of
from rgo_bench.runs.spec import Spec, make_spec

STREAM: Final = "split-cifar100"
NETWORK: Final = "lenet-5"
BASE: Final = "stl"
METHOD: Final = "rgo"
# Of STL: the paper's own, with which its gain is printed, and RGO's.
BASE_NETWORKS: Final = (own_network(NETWORK, BASE), NETWORK)
CAPACITY: Final = 100.0  # percent: RGO's network never grows
# With their options: a trial of RCL takes as long as a task of RGO, and it has 50.
EXPANDING: Final[Mapping[str, Mapping[str, Any]]] = {
    "pgn": {},
    "den": {},
    "rcl": {"trials": 5},
    "apd": {},
}

_NAMES = ("method", "form", "STL with")
_OURS = ("seeds", "ACC - STL", "ACC/STL - 1", "capacity", "MiB")
_PAPERS = ("paper", "its capacity", "Δ")


class Gain(NamedTuple):
    """What a method gains over STL, seed by seed."""

    seeds: int  # how many have both
    points: Spread  # the accuracy less STL's
    percent: Spread  # the accuracy over STL's, less 1
    capacity: float | None  # percent of one network's weights; None: not recorded
    kept: float | None  # bytes


class Row(NamedTuple):
    """A method over a network of STL: ours, and what the paper prints or quotes."""

    method: str
    form: str
    network: str  # STL's
    ours: Gain | None
    paper: PublishedGain | None

    @property
    def difference(self) -> float | None:
        """Our points less the paper's; None where one is missing."""
        if self.ours is None or self.paper is None:
            return None
        return self.ours.points.mean - self.paper.points


def table2_specs(
    *,
    seeds: Iterable[int] = SEEDS,
    streams: Iterable[str] | None = None,
    networks: Iterable[str] | None = None,
    data: Path | None = None,
) -> list[Spec]:
    """Return the runs of Table 2: those of Table 3 with LeNet-5, and expanding methods.

    Parameters
    ----------
    seeds : iterable of int
        The paper's five by default.
    streams, networks : iterable of str, optional
        The table has one stream, and the networks of RGO and of the paper's STL.
    data : Path, optional
        The folder of the stream's data.

    Returns
    -------
    list of Spec

    Raises
    ------
    ValueError
        If another stream or network is asked for.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    Table 2.
    """
    asked = chosen("stream", streams, [STREAM])
    kept = chosen("network", networks, [NETWORK, *BASE_NETWORKS])
    every = list(seeds)
    specs = table3_specs(seeds=every, streams=asked, networks=kept, data=data)
    grown = [
        make_spec(
            *(STREAM, method, seed, EPOCHS[STREAM] | dict(options)),
            network=NETWORK,
            data=data,
        )
        for seed in every
        for method, options in EXPANDING.items()
        if NETWORK in kept
    ]
    return [*specs, *grown]


def gain(
    records: Iterable[Record], form: str, base_network: str, *, method: str = METHOD
) -> Gain | None:
    """Return what a method gains over STL.

    Parameters
    ----------
    records : iterable of Record
        Of the runs of `table2_specs`.
    form : str
        Of RGO, one of `rgo_bench.paper.table3.FORMS`; empty for other methods.
    base_network : str
        STL's, one of `BASE_NETWORKS`.
    method : str

    Returns
    -------
    Gain or None
        Over the seeds that both methods have; None where there is none.
    """
    kept = list(records)
    base = {
        r.seed: r.acc for r in kept if (r.method, r.network) == (BASE, base_network)
    }
    own = [
        r
        for r in kept
        if r.method == method
        and form_of(r.method, r.variant) == form
        and r.seed in base
    ]
    if not own:
        return None
    pairs = [(record.acc, base[record.seed]) for record in own]
    counted = [record.kept for record in own if record.kept is not None]
    whole = len(counted) == len(own)
    capacity = spread_of(c["capacity"] for c in counted).mean if whole else None
    return Gain(
        len(pairs),
        spread_of(acc - base for acc, base in pairs),
        spread_of(100 * (acc / base - 1) for acc, base in pairs),
        CAPACITY if method == METHOD else capacity,
        spread_of(c["bytes"] for c in counted).mean if whole else None,
    )


def table2_rows(records: Iterable[Record]) -> list[Row]:
    """Return the rows of Table 2: RGO in both forms, then the expanding methods.

    Each over STL with the paper's own network, to which RGO's printed gain belongs, and
    over STL with RGO's, which is nearer to the LeNet that the quoted gains are of.
    """
    kept, papers = list(records), published_gains()
    methods = [(METHOD, form) for form in FORMS] + [(m, "") for m in EXPANDING]
    return [
        Row(
            *(method, form, network),
            gain(kept, form, network, method=method),
            papers[method] if network == _compared(method) else None,
        )
        for method, form in methods
        for network in BASE_NETWORKS
    ]


def table2_sheet(records: Iterable[Record]) -> Sheet:
    """Return Table 2: ours, and in columns of their own what the paper prints.

    The paper's numbers are differences of accuracies (`published_gains`), its own and
    those that it quotes of others: ours are compared as such, and stated as quotients
    too. The memory is that of everything a method keeps.
    """
    rows = table2_rows(records)
    title = f"{STREAM} ({NETWORK}), Table 2: over STL with its own network and RGO's"
    header = (*_NAMES, *_OURS, *_PAPERS)
    return Sheet(
        [Grid(title, header, [_cells(row) for row in rows], len(_NAMES))], _lines(rows)
    )


def _compared(method: str) -> str:
    return BASE_NETWORKS[0] if method == METHOD else NETWORK


def _cells(row: Row) -> tuple[str, ...]:
    ours, paper = row.ours, row.paper
    numbers: tuple[str, ...] = ("0", NOT_RUN, "", "", "")
    if ours is not None:
        spreads = (spread_text(s, ours.seeds) for s in (ours.points, ours.percent))
        capacity = "" if ours.capacity is None else f"{ours.capacity:.0f}"
        numbers = (str(ours.seeds), *spreads, capacity, mebibytes(ours.kept))
    printed = ("", "")
    if paper is not None:
        spread = spread_text(Spread(paper.points, paper.points_std), len(SEEDS))
        printed = (spread, str(paper.capacity))
    apart = "" if row.difference is None else decimal_text(row.difference, sign="+")
    return (row.method, row.form, row.network, *numbers, *printed, apart)


def _lines(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    header = (
        *("method", "form", "stl_network", "seeds"),
        *("points", "points_std", "percent", "percent_std", "capacity", "kept_bytes"),
        *("paper_points", "paper_points_std", "paper_capacity", "points_difference"),
    )
    return [header, *map(_line, rows)]


def _line(row: Row) -> tuple[object, ...]:
    ours, nothing = row.ours, (None,) * 6
    measured = (
        nothing
        if ours is None
        else (*ours.points, *ours.percent, ours.capacity, ours.kept)
    )
    paper = row.paper or (None,) * 3
    names = (row.method, row.form, row.network)
    return (*names, ours.seeds if ours else 0, *measured, *paper, row.difference)
