"""Several seeds at once, as one program."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rgo_bench.jit.run import JitRun
from rgo_bench.records import Record, check_writable, write_record
from rgo_bench.runs.spec import Spec


def run_mapped(
    specs: Sequence[Spec], out: Path, *, device: str = "cpu", reporter: Any
) -> list[Record]:
    """Run several seeds at once, as one program, and write their records.

    Nothing is written before the end: a run that was cut off starts again. The times in
    the records are each seed's share.

    Parameters
    ----------
    specs : sequence of Spec
        Alike but for their seeds.
    out : Path
        The folder of all records.
    device : str
        ``"cpu"`` or ``"cuda"``.
    reporter : Reporter
        Hears of the progress.

    Raises
    ------
    OSError
        If the records could not be written; nothing has started then.
    ValueError
        As `JitRun` does, or if the specs differ in more than their seeds.
    """
    check_writable(out)
    running = JitRun(specs, device)
    while running.so_far.task < running.stream.tasks:
        running.learn(reporter)
    records = running.records()
    for record in records:
        write_record(out, record)
    return records
