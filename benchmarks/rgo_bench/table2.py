"""The paper's Table 2: what RGO gains over learning every task alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rgo_bench.choices import SEEDS, chosen
from rgo_bench.grids import Grid, Sheet, decimal_text, spread_text
from rgo_bench.paper import own_network, published_gains
from rgo_bench.records import Record
from rgo_bench.spec import Spec
from rgo_bench.table3 import FORMS, form_of, table3_specs
from rgo_bench.table3_sheet import NOT_RUN
from rgo_bench.tables import Spread, spread_of

STREAM: Final = "split-cifar100"
NETWORK: Final = "lenet-5"
BASE: Final = "stl"
METHOD: Final = "rgo"
# Of STL: the paper's own, with which its gain is printed, and RGO's.
BASE_NETWORKS: Final = (own_network(NETWORK, BASE), NETWORK)
CAPACITY: Final = 100  # percent: the network never grows

_NAMES = ("method", "form", "STL with", "whose")
_NUMBERS = ("seeds", "ACC - STL", "ACC/STL - 1", "capacity", "Δ")


class Gain(NamedTuple):
    """What RGO gains over STL, seed by seed."""

    seeds: int  # how many have both
    points: Spread  # the accuracy less STL's
    percent: Spread  # the accuracy over STL's, less 1

    @property
    def difference(self) -> float:
        """Our points less the paper's."""
        return self.points.mean - published_gains()[METHOD].points


def table2_specs(
    *,
    seeds: Iterable[int] = SEEDS,
    streams: Iterable[str] | None = None,
    networks: Iterable[str] | None = None,
    data: Path | None = None,
) -> list[Spec]:
    """Return the runs of Table 2, which are those of Table 3 with LeNet-5.

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
    return table3_specs(seeds=seeds, streams=asked, networks=kept, data=data)


def gain(records: Iterable[Record], form: str, base_network: str) -> Gain | None:
    """Return what RGO gains over STL.

    Parameters
    ----------
    records : iterable of Record
        Of the runs of `table2_specs`.
    form : str
        Of RGO, one of `rgo_bench.table3.FORMS`.
    base_network : str
        STL's, one of `BASE_NETWORKS`.

    Returns
    -------
    Gain or None
        Over the seeds that both methods have; None where there is none.
    """
    kept = list(records)
    base = {
        r.seed: r.acc for r in kept if (r.method, r.network) == (BASE, base_network)
    }
    pairs = [
        (record.acc, base[record.seed])
        for record in kept
        if form_of(record.method, record.variant) == form and record.seed in base
    ]
    if not pairs:
        return None
    return Gain(
        len(pairs),
        spread_of(acc - base for acc, base in pairs),
        spread_of(100 * (acc / base - 1) for acc, base in pairs),
    )


def table2_sheet(records: Iterable[Record]) -> Sheet:
    """Return Table 2: ours, the paper's, and what the paper quotes of others.

    Ours are of RGO in both its forms, over STL with the paper's own network, to which
    the printed gain belongs, and over STL with RGO's. The paper's numbers are
    differences of accuracies (`published_gains`): ours are compared as such, and stated
    as quotients too.
    """
    kept = list(records)
    gains = {
        (form, network): gain(kept, form, network)
        for form in FORMS
        for network in BASE_NETWORKS
    }
    title = f"{STREAM} ({NETWORK}), Table 2: over STL with its own network and RGO's"
    return Sheet(
        [Grid(title, (*_NAMES, *_NUMBERS), _cells(gains), len(_NAMES))], _lines(gains)
    )


Gains = dict[tuple[str, str], Gain | None]


def _cells(gains: Gains) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for (form, network), ours in gains.items():
        names = (METHOD, form, network, "ours")
        if ours is None:
            cells.append((*names, "0", NOT_RUN, "", str(CAPACITY), ""))
            continue
        spreads = (spread_text(s, ours.seeds) for s in (ours.points, ours.percent))
        difference = ""
        if network == BASE_NETWORKS[0]:
            difference = decimal_text(ours.difference, sign="+")
        cells.append((*names, str(ours.seeds), *spreads, str(CAPACITY), difference))
    for method, (points, std, capacity) in _published():
        own = method == METHOD
        seeds = str(len(SEEDS)) if own else ""
        network = BASE_NETWORKS[0] if own else ""
        spread = spread_text(Spread(points, std), len(SEEDS))
        names = (method, "", network, _whose(method))
        cells.append((*names, seeds, spread, "", str(capacity), ""))
    return cells


def _lines(gains: Gains) -> list[tuple[object, ...]]:
    header = (
        *("method", "form", "stl_network", "whose", "seeds"),
        *("points", "points_std", "percent", "percent_std"),
        *("capacity", "points_difference"),
    )
    lines: list[tuple[object, ...]] = [header]
    for (form, network), ours in gains.items():
        if ours is None:
            continue
        spreads = (*ours.points, *ours.percent)
        difference = ours.difference if network == BASE_NETWORKS[0] else None
        names = (METHOD, form, network, "ours", ours.seeds)
        lines.append((*names, *spreads, CAPACITY, difference))
    for method, (points, std, capacity) in _published():
        own = method == METHOD
        base = BASE_NETWORKS[0] if own else None
        seeds = len(SEEDS) if own else None
        whose = (method, None, base, _whose(method), seeds)
        lines.append((*whose, points, std, None, None, capacity, None))
    return lines


def _published() -> Sequence[tuple[str, tuple[float, float, int]]]:
    """Return the paper's own row first, to stand below ours."""
    return sorted(published_gains().items(), key=lambda item: item[0] != METHOD)


def _whose(method: str) -> str:
    return "paper" if method == METHOD else "quoted by the paper"
