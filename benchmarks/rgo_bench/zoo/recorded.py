"""A run that is read where it is recorded, and made and recorded where it is not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from rgo_bench.cli.terminal import errors
from rgo_bench.records import describe_environment
from rgo_bench.zoo.record import (
    ZooRecord,
    read_zoo_record,
    write_zoo_record,
    zoo_path,
)


def recorded(
    learn: Callable[..., ZooRecord],
    out: Path,
    *,
    model: str,
    method: str,
    seed: int,
    options: Mapping[str, Any],
    steps: int,
    force: bool = False,
    kind: str = "zoo",
) -> ZooRecord:
    """Return the record of a run, made now unless it is there, of as many steps.

    Parameters
    ----------
    learn : callable
        Returns the record, given an `environment`.
    out : Path
        The folder of the records.
    model, method, seed, options, kind
        Of the record, see `zoo_path`.
    steps : int
        Of a task.
    force : bool
        Whether to run it again.
    """
    path = zoo_path(
        out, kind=kind, model=model, method=method, options=options, seed=seed
    )
    if path.exists() and not force:
        known = read_zoo_record(path)
        if known.training["steps"] == steps:
            return known
    threads = torch.get_num_threads()
    record = learn(
        environment=describe_environment("torch", device="cpu", threads=threads)
    )
    write_zoo_record(out, record, kind)
    bwt = "" if record.bwt is None else f", BWT {record.bwt:.1f}"
    seconds = sum(record.seconds.values())
    errors.print(f"{model} {method} {seed}: ACC {record.acc:.1f}{bwt}, {seconds:.0f} s")
    return record
