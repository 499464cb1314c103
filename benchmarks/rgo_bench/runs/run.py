"""One run: a method learns a stream, and is tested on all tasks after each."""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rgo_bench.compilation import check_compiler
from rgo_bench.methods import METHODS
from rgo_bench.records import (
    Record,
    check_writable,
    read_record,
    record_path,
    write_record,
)
from rgo_bench.runs.checkpoint import write_checkpoint
from rgo_bench.runs.reporter import Reporter, Silent, report_done
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.state import check_config
from rgo_bench.runs.training import TorchRun, usable_device
from rgo_bench.team import Team

if TYPE_CHECKING:  # JAX need not be there
    from rgo_bench.runs.jit import JitRun


def run(
    spec: Spec,
    out: Path,
    *,
    device: str = "cpu",
    compiled: bool = False,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Record:
    """Run what `spec` asks for and write its record, or read the one that is there.

    After every task but the last a checkpoint is written beside the record to be. A run
    that was cut off goes on after it and ends with the same numbers; no checkpoint is
    left beside a record.

    On the split streams, whose gap between training and test the paper prints in its
    Table 3, the accuracy on training samples is measured too, as part of "evaluate":
    of all tasks after the last, or of each when it is learned by a method that keeps
    its tasks.

    With `compiled` training steps go through `torch.compile`, with methods that can.
    Like the device it changes how numbers are rounded, not what is computed: a run may
    go on with it or without, and its record states it as part of the environment. With
    `force` a finished or a begun run is run again from the start.

    Nothing starts where the record could not be written, or without the C++ compiler
    to compile with. A record or a checkpoint that is broken or of another configuration
    raises ValueError, as a network does that returns NaN.
    """
    path = record_path(out, spec)
    team = Team()
    reporter = (reporter if team.leads else None) or Silent()
    if team.agreed(path.exists()) and not force:
        record = read_record(path)
        check_config(path, "record", record.config, spec)
        report_done(reporter, spec, spec.stream_options.tasks, record.acc)
    else:
        if compiled:
            check_compiler()
        running = begin_run(spec, device, compiled=compiled)
        so_far = running.so_far
        check_writable(path.parent)
        checkpoint = path.with_suffix(".checkpoint")
        if team.agreed(checkpoint.exists()) and not force:
            running.resume(checkpoint)
            report_done(reporter, spec, so_far.task, so_far.average)
        while so_far.task < so_far.stream.tasks:
            running.learn(reporter)
            if team.leads and so_far.task < so_far.stream.tasks:
                write_checkpoint(checkpoint, running.state_dict())
        if team.leads:
            write_record(out, running.record())
    if team.leads:
        _remove_leftovers(path)
    team.agreed(None)  # it is there now
    return read_record(path)


Running: TypeAlias = "TorchRun | JitRun"  # a run under way, between two tasks


def begin_run(spec: Spec, device: str = "cpu", *, compiled: bool = False) -> Running:
    """Return a run that has learned nothing yet, for a loop of one's own; see `run`."""
    if Team().count > 1:
        check_together(spec, compiled=compiled)
    if spec.backend == "jax":
        from rgo_bench.runs.jit import JitRun

        return JitRun([spec], device)
    return TorchRun(spec, usable_device(device), compiled=compiled)


HOUR = 3600  # seconds


def _remove_leftovers(path: Path) -> None:
    """Remove the checkpoint of a finished run, and what a kill left half-written.

    What another process is writing now is no leftover.
    """
    path.with_suffix(".checkpoint").unlink(missing_ok=True)
    for leftover in path.parent.glob(f".{path.stem}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime < time.time() - HOUR:
                leftover.unlink()


def check_together(spec: Spec, *, compiled: bool) -> None:
    """Refuse what several processes would do otherwise than one.

    JAX is refused because it uses all of its devices from one process.
    """
    able = [name for name in METHODS if getattr(METHODS[name].build, "parallel", False)]
    if spec.method not in able:
        raise ValueError(
            f"several processes expect one of the methods {', '.join(able)}, got "
            f"{spec.method}; use --jobs for several runs"
        )
    if spec.backend == "jax":
        raise ValueError("several processes expect --backend torch, got jax")
    if compiled:
        raise ValueError("several processes expect no --compile, got it")
