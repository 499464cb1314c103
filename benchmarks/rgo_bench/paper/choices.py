"""Which part of a table of the paper is run."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

from rgo_bench.runs.spec import Spec, make_spec

SEEDS: Final = range(5)  # the paper's


def chosen(
    option: str, asked: Iterable[str] | None, known: Iterable[str]
) -> tuple[str, ...]:
    """Return the names asked for by ``--option``, or all that are known where None.

    Each once, in the order in which they are known; others are refused.
    """
    names = tuple(dict.fromkeys(known))
    wanted = names if asked is None else tuple(asked)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(
            f"--{option}: expected one of {', '.join(names)}, got {', '.join(unknown)}"
        )
    return tuple(name for name in names if name in wanted)


def specs_of(
    cells: Sequence[tuple[str, str, str, Mapping[str, Any]]],
    *,
    seeds: Iterable[int],
    networks: Iterable[str] | None,
) -> list[Spec]:
    """Return the runs of cells (stream, method, network, options) with networks chosen.

    All of one seed stand before those of the next.
    """
    kept = chosen("network", networks, [network for _, _, network, _ in cells])
    return [
        make_spec(stream, method, seed, options, network=network)
        for seed, (stream, method, network, options) in product(seeds, cells)
        if network in kept
    ]
