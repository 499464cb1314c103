"""Runs that are read where they are recorded, and made and recorded where not."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from rgo_bench.records import check_writable, describe_environment
from rgo_bench.zoo.methods import check_options
from rgo_bench.zoo.record import (
    Asked,
    ZooRecord,
    read_zoo_record,
    write_zoo_record,
    zoo_path,
)


def recorded(
    learn: Callable[[Asked, Mapping[str, Any]], ZooRecord],
    runs: Iterable[Asked],
    out: Path,
    *,
    options: Mapping[str, Any],
    tell: Callable[[str], None],
    force: bool = False,
    kind: str = "zoo",
) -> list[ZooRecord]:
    """Return the record of each run, made now unless it is there, of as many steps.

    A run is made by `learn`, in an environment that it records, and told in a line. The
    options are RGO's, for the methods that are.
    """
    check_options(options)
    check_writable(out)
    threads = torch.get_num_threads()
    environment = describe_environment("torch", device="cpu", threads=threads)
    records = []
    for run in runs:
        asked = run._replace(options=options if run.method.startswith("rgo") else {})
        path = zoo_path(out, asked, kind)
        record = read_zoo_record(path) if path.exists() and not force else None
        if record is None or record.training["steps"] != run.steps:
            record = learn(asked, environment)
            write_zoo_record(out, record, kind)
            bwt = "" if record.bwt is None else f", BWT {record.bwt:.1f}"
            made = f"{run.model} {run.method} {run.seed}: ACC {record.acc:.1f}{bwt}"
            tell(f"{made}, {sum(record.seconds.values()):.0f} s")
        records.append(record)
    return records
