"""The runs that the paper's Table 1 is made of."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Final

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.paper import PUBLISHED_NETWORKS, published_methods
from rgo_bench.spec import Spec, make_spec
from rgo_bench.streams import STREAMS

SEEDS: Final = range(5)
# Not in the paper's table, but what RGO is closest to.
ALSO: Final = ("owm",)


def table1_specs(
    *, seeds: Iterable[int] = SEEDS, data: Path | None = None
) -> list[Spec]:
    """Return every run of Table 1, as far as there are streams, networks, methods.

    Parameters
    ----------
    seeds : iterable of int
        The paper's five by default.
    data : Path, optional
        The folder of the streams' data.

    Returns
    -------
    list of Spec
        All streams and methods of one seed before those of the next, so that a table
        that is cut short still has all its rows.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    Table 1.
    """
    streams = [
        name
        for name, network in PUBLISHED_NETWORKS.items()
        if name in STREAMS and network in NETWORKS
    ]
    methods = [name for name in (*published_methods(), *ALSO) if name in METHODS]
    return [
        make_spec(stream, method, seed, network=PUBLISHED_NETWORKS[stream], data=data)
        for seed, stream, method in product(seeds, streams, methods)
    ]
