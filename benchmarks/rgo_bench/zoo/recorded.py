"""Runs that are read where they are recorded, and made and recorded where not."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rgo_bench.cli.terminal import errors
from rgo_bench.records import check_writable, describe_environment
from rgo_bench.zoo.methods import check_options
from rgo_bench.zoo.record import (
    ZooRecord,
    read_zoo_record,
    write_zoo_record,
    zoo_path,
)


class Asked(NamedTuple):
    """A run that is asked for."""

    name: str  # of the model or stream, in its registry
    model: str  # as records name it
    method: str
    seed: int
    steps: int  # of a task


def recorded(
    learn: Callable[..., ZooRecord],
    runs: Iterable[Asked],
    out: Path,
    *,
    options: Mapping[str, Any],
    force: bool = False,
    kind: str = "zoo",
) -> list[ZooRecord]:
    """Return the record of each run, made now unless it is there, of as many steps.

    Parameters
    ----------
    learn : callable
        Returns a record, given name, method, seed, `options`, `steps`, `environment`.
    runs : iterable of Asked
    out : Path
        The folder of the records.
    options : mapping
        Of RGO, for the methods that are.
    force : bool
        Whether to run all again.
    kind : str
        Of the records, see `zoo_path`.

    Raises
    ------
    ValueError
        If RGO has no such option.
    OSError
        If records cannot be written.
    """
    check_options(options)
    check_writable(out)
    return [_recorded(learn, run, out, options, force, kind) for run in runs]


def _recorded(
    learn: Callable[..., ZooRecord],
    run: Asked,
    out: Path,
    options: Mapping[str, Any],
    force: bool,
    kind: str,
) -> ZooRecord:
    name, model, method, seed, steps = run
    own = options if method.startswith("rgo") else {}
    path = zoo_path(out, kind=kind, model=model, method=method, options=own, seed=seed)
    if path.exists() and not force:
        known = read_zoo_record(path)
        if known.training["steps"] == steps:
            return known
    threads = torch.get_num_threads()
    environment = describe_environment("torch", device="cpu", threads=threads)
    record = learn(
        *(name, method, seed), options=own, steps=steps, environment=environment
    )
    write_zoo_record(out, record, kind)
    bwt = "" if record.bwt is None else f", BWT {record.bwt:.1f}"
    seconds = sum(record.seconds.values())
    errors.print(f"{model} {method} {seed}: ACC {record.acc:.1f}{bwt}, {seconds:.0f} s")
    return record
