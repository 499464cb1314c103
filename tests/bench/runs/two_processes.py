"""Run by `test_team`: two processes that make a run together."""

import json
import sys
from pathlib import Path

from bench.short_runs import checkpoint_of, short_spec
from forked import fork
from torch import nn

from rgo_bench.runs.checkpoint import write_checkpoint
from rgo_bench.runs.reporter import Silent
from rgo_bench.runs.run import begin_run, run
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.team import Team

# Of nine samples a mini-batch one process has five.
SPECS = [short_spec("rgo"), short_spec("sgd", batch=9)]


def message(spec: Spec, out: Path) -> str:
    try:
        run(spec, out)
    except ValueError as error:
        return str(error)
    return "nothing"


def work(rank: int, folder: Path) -> None:
    out = folder / "together"
    for spec in SPECS:
        run(spec, out)
    # Cut off after its first task, it goes on.
    begun = begin_run(SPECS[0])
    begun.learn(Silent())
    checkpoint = checkpoint_of(SPECS[0], folder / "resumed")
    if rank == 0:
        checkpoint.parent.mkdir(parents=True)
        write_checkpoint(checkpoint, begun.state_dict())
    run(SPECS[0], folder / "resumed")
    said = {
        "batch": message(short_spec("rgo", per="batch"), folder / "none"),
        "small": message(short_spec("sgd", batch=1), folder / "none"),
        "method": message(short_spec("ewc"), folder / "none"),
    }
    try:
        Team().forward(nn.BatchNorm1d(3))
    except ValueError as error:
        said["normalized"] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    fork(2, work, Path(sys.argv[1]))
