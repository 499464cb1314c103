"""Run by `test_team`: two processes that make a run together."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from bench.short_runs import checkpoint_of, short_spec
from forked import fork
from torch import distributed, nn

from rgo_bench.runs.checkpoint import write_checkpoint
from rgo_bench.runs.reporter import Silent
from rgo_bench.runs.run import begin_run, run
from rgo_bench.runs.spec import Spec
from rgo_bench.team import Team, joined

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


def restarted(folder: Path) -> None:
    """Join twice by the store that torchrun keeps; the first time all die of it."""
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True)
    for attempt in range(2):
        there = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": f"{store.port}",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": f"{attempt}",
            "WORLD_SIZE": "2",
        }
        children = []
        for rank in range(2):
            child = os.fork()
            if not child:
                os.environ.update(there, RANK=f"{rank}")
                time.sleep(rank * attempt)  # the first reads what the dead have left
                try:
                    with joined() as team:
                        if not attempt:
                            os.kill(os.getpid(), signal.SIGKILL)
                        (folder / f"restarted-{rank}").write_text(f"{team.count}")
                finally:
                    os._exit(0)
            children.append(child)
        deadline = time.monotonic() + 60
        while children:
            children = [c for c in children if os.waitpid(c, os.WNOHANG)[0] == 0]
            if time.monotonic() > deadline:
                for child in children:
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.02)


if __name__ == "__main__":
    restarted(Path(sys.argv[1]))
    fork(2, work, Path(sys.argv[1]))
