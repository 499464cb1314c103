"""The paper's Table 2: what RGO gains over learning every task alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rgo_bench.choices import SEEDS, chosen
from rgo_bench.grids import Grid, Sheet, decimal_text, spread_text
from rgo_bench.paper import published_gains
from rgo_bench.records import Record
from rgo_bench.spec import Spec
from rgo_bench.table3 import NOTE, table3_specs
from rgo_bench.tables import Spread, spread_of

STREAM: Final = "split-cifar100"
NETWORK: Final = "lenet-5"
BASE: Final = "stl"
METHOD: Final = "rgo"
CAPACITY: Final = 100  # percent: the network never grows

_NAMES = ("method", "whose")
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
        The table has one of each.
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
    kept = chosen("network", networks, [NETWORK])
    return table3_specs(seeds=seeds, streams=asked, networks=kept, data=data)


def gain(records: Iterable[Record]) -> Gain | None:
    """Return what RGO gains over STL.

    Parameters
    ----------
    records : iterable of Record
        Of the runs of `table2_specs`.

    Returns
    -------
    Gain or None
        Over the seeds that both methods have; None where there is none.
    """
    accuracy = {(record.method, record.seed): record.acc for record in records}
    pairs = [
        (acc, accuracy[BASE, seed])
        for (method, seed), acc in accuracy.items()
        if method == METHOD and (BASE, seed) in accuracy
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

    The paper's numbers are differences of accuracies (`published_gains`): ours are
    compared as such, and stated as quotients too.
    """
    ours = gain(records)
    title = f"{STREAM} ({NETWORK}), Table 2 ({NOTE})"
    return Sheet(
        [Grid(title, (*_NAMES, *_NUMBERS), _cells(ours), len(_NAMES))], _lines(ours)
    )


def _cells(ours: Gain | None) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    if ours is not None:
        spreads = (spread_text(s, ours.seeds) for s in (ours.points, ours.percent))
        difference = decimal_text(ours.difference, sign="+")
        cells.append(
            (METHOD, "ours", str(ours.seeds), *spreads, str(CAPACITY), difference)
        )
    for method, (points, std, capacity) in _published():
        own = method == METHOD
        seeds = str(len(SEEDS)) if own else ""
        spread = spread_text(Spread(points, std), len(SEEDS))
        cells.append((method, _whose(method), seeds, spread, "", str(capacity), ""))
    return cells


def _lines(ours: Gain | None) -> list[tuple[object, ...]]:
    header = (
        *(*_NAMES, "seeds", "points", "points_std", "percent", "percent_std"),
        *("capacity", "points_difference"),
    )
    lines: list[tuple[object, ...]] = [header]
    if ours is not None:
        spreads = (*ours.points, *ours.percent)
        lines.append((METHOD, "ours", ours.seeds, *spreads, CAPACITY, ours.difference))
    for method, (points, std, capacity) in _published():
        seeds = len(SEEDS) if method == METHOD else None
        whose = _whose(method)
        lines.append((method, whose, seeds, points, std, None, None, capacity, None))
    return lines


def _published() -> Sequence[tuple[str, tuple[float, float, int]]]:
    """Return the paper's own row first, to stand below ours."""
    return sorted(published_gains().items(), key=lambda item: item[0] != METHOD)


def _whose(method: str) -> str:
    return "paper" if method == METHOD else "quoted by the paper"
