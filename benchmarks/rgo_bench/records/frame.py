"""The one frame of records that tables, figures and the page are made of."""

from collections.abc import Iterable, Sequence
from typing import Final

import pandas as pd

from rgo_bench.records.groups import Run, group_by_run
from rgo_bench.records.record import Record

RUN: Final = list(Run._fields)
MEASURES: Final = ["acc", "bwt", "train", "gap", "kept_bytes", "capacity", "seconds"]


def seeds_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return a row for each record, ordered as by `group_by_run`, which may raise.

    Its columns are those of `Run`, the seed and `MEASURES`: accuracies in percent, the
    gap from those on training samples to those on test samples, and the seconds of
    learning, the tests apart. NaN stands for what a record does not tell.
    """
    rows = []
    for run, group in group_by_run(records).items():
        for each in group:
            train, kept = each.train_acc, each.kept or {}
            gap = None if train is None else train - each.acc
            seconds = sum(each.seconds.values()) - each.seconds["evaluate"]
            measured = (train, gap, kept.get("bytes"), kept.get("capacity"), seconds)
            rows.append((*run, each.seed, each.acc, each.bwt, *measured))
    frame = pd.DataFrame(rows, columns=[*RUN, "seed", *MEASURES])
    return frame.astype(dict.fromkeys(MEASURES, float))


def runs_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return a row for each run, over its seeds; see `seeds_frame` and `over_seeds`.

    Its `Run` stands in a column of its own, too.
    """
    rows = over_seeds(seeds_frame(records), RUN, MEASURES)
    return rows.assign(run=[Run(*names) for names in rows[RUN].itertuples(index=False)])


def over_seeds(
    frame: pd.DataFrame, by: Sequence[str], measures: Sequence[str]
) -> pd.DataFrame:
    """Return a row for each group: its names, its number of seeds, and what they made.

    The mean of each measure is under its name, the population's standard deviation, as
    in the paper, under ``NAME_std``; both NaN where one seed's is.
    """
    groups = frame.groupby(list(by), sort=False)
    parts = [groups.size().rename("seeds")]
    for name in measures:
        values = groups[name]
        parts.append(values.agg(lambda own: own.to_numpy().mean()))
        parts.append(values.agg(lambda own: own.to_numpy().std()).rename(f"{name}_std"))
    return pd.concat(parts, axis=1).reset_index()
