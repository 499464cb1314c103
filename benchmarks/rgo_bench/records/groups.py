"""Records that belong together: the seeds of one method on one stream."""

from collections.abc import Iterable
from typing import NamedTuple

from rgo_bench.records import Record, differing_options


class Run(NamedTuple):
    """What the seeds of a run have in common."""

    stream: str
    method: str
    variant: str
    network: str
    backend: str

    @property
    def label(self) -> str:
        """The method, and in brackets the variant if there is one."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


def group_by_run(records: Iterable[Record]) -> dict[Run, list[Record]]:
    """Put the records of the same run, which differ in the seed, together.

    In the order of streams, methods, variants, networks and backends. Different
    configurations in one run are refused: their mean would be that of no method.
    """
    groups: dict[Run, list[Record]] = {}
    for each in records:
        run = Run(each.stream, each.method, each.variant, each.network, each.backend)
        groups.setdefault(run, []).append(each)
    for run, group in groups.items():
        for other in group[1:]:
            _check_same_config(run, group[0], other)
    return {run: groups[run] for run in sorted(groups)}


def _check_same_config(run: Run, first: Record, other: Record) -> None:
    differing = differing_options(first.config, other.config)
    if differing:
        values = "; ".join(
            f"{key} is {first.config.get(key)!r} for seed {first.seed} and "
            f"{other.config.get(key)!r} for seed {other.seed}"
            for key in differing
        )
        raise ValueError(
            f"{run.label} on {run.stream}: expected one configuration for all seeds, "
            f"got: {values}"
        )
