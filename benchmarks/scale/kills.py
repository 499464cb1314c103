"""What is lost when something dies: `python kills.py KIND OUT [--moments 10]`.

KIND is `rank` (one of two processes that torchrun started), `worker` (a process of a
run on Ray) or `node` (one of two nodes of a Ray cluster, by SIGKILL of all its
processes). Each kill comes at a random moment of a sweep, which is made once before
without any. A sweep hangs if after the kill there is no sign of life for 60 s: it
writes no checkpoint and no record, no process of it starts or ends.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from rgo_bench.records import describe_environment, read_records, write_json

SWEEP = ["run", "permuted-digits", "--set", "tasks=8", "--set", "samples=300"]
SWEEP += ["--set", "epochs=2"]
# Seconds of silence that are a hang, and those after which nobody waits any longer.
HANG, PATIENCE = 60.0, 240.0


def children_of(process: int) -> list[int]:
    """Return the processes below one, nearest first."""
    found = [process]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has ended
                continue
    return found[1:]


def command_of(process: int) -> str:
    """Return a process's command line; nothing if it has ended."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace")


def sweep(kind: str, out: Path, address: str | None) -> list[str]:
    """Return the command of a sweep."""
    if kind == "rank":
        launch = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", "3"]
        launch += ["--nproc-per-node", "2", "-m", "rgo_bench"]
        return [sys.executable, *launch, *SWEEP, "--out", str(out)]
    engine = ["--engine", "ray", "--address", str(address)]
    more = ["--method", "rgo,sgd", "--out", str(out)]
    return [sys.executable, "-m", "rgo_bench", *SWEEP, *more, *engine]


def victims(kind: str, process: int, raylets: list[int]) -> list[int]:
    """Return what may be killed now."""
    if kind == "rank":
        below = children_of(process)
        return [p for p in below if "-m rgo_bench" in command_of(p)]
    workers = [p for raylet in raylets for p in children_of(raylet)]
    return [p for p in workers if command_of(p).startswith("ray::_run")]


def one(kind: str, after: float | None, draw: random.Random) -> dict[str, Any]:
    """Make the sweep, and kill something after so many seconds; None: nothing."""
    with tempfile.TemporaryDirectory() as folder, cluster(kind) as (address, nodes):
        out, log = Path(folder) / "records", Path(folder) / "log"
        with log.open("wb") as written:
            command = sweep(kind, out, address)
            process = subprocess.Popen(command, stdout=written, stderr=written)

        def kill() -> bool:
            return kill_one(kind, process.pid, nodes, draw)

        answer = watch(process, nodes, out, after, kill)
        found = read_records(out) if out.exists() else []
        answer["records"] = {
            f"{r.method} {r.seed}": [list(map(str, row)) for row in r.accuracy]
            for r in found
        }
        answer["left behind"] = len(signs(out)) - len(found)
        if process.returncode:
            answer["log"] = log.read_text(errors="replace")[-1500:]
        return answer


def watch(
    process: subprocess.Popen[bytes],
    nodes: list[int],
    out: Path,
    after: float | None,
    kill: Callable[[], bool],
) -> dict[str, Any]:
    """Wait for a sweep, with one kill, and return when it gave signs of life."""
    start = time.monotonic()
    killed: float | None = None
    written, alive = [0.0], [0.0]  # when, from the kill on
    seen: tuple[Any, Any] = ({}, set())
    while process.poll() is None:
        now = time.monotonic() - start
        if after is not None and killed is None and now >= after and kill():
            killed, written, alive = now, [now], [now]
        before, seen = seen, (signs(out), of_sweep(process.pid, nodes))
        if seen[0] != before[0]:
            written.append(now)
        if seen != before:
            alive.append(now)
        if now - alive[-1] > PATIENCE:
            for each in [process.pid, *children_of(process.pid)]:
                stop(each)
        time.sleep(0.1)
    end = time.monotonic() - start
    silence = max(later - earlier for earlier, later in pairwise([*alive, end]))
    return {
        "killed after": killed,
        "next written after": [*written, end][1] - written[0],
        "longest silence": silence,
        "end after": end - written[0],
        "hangs": silence > HANG,
        "exit": process.returncode,
        "load": os.getloadavg()[0],
    }


def of_sweep(process: int, nodes: list[int]) -> set[int]:
    """Return the processes of a sweep."""
    return {below for each in (process, *nodes) for below in children_of(each)}


def signs(out: Path) -> dict[str, int]:
    """Return when each checkpoint and each record was written."""
    found = {}
    for path in out.rglob("*"):
        with suppress(FileNotFoundError):  # replaced, or removed
            if path.is_file():
                found[str(path)] = path.stat().st_mtime_ns
    return found


def kill_one(kind: str, process: int, nodes: list[int], draw: random.Random) -> bool:
    """Kill one thing; return whether there is one yet."""
    if kind == "node":
        node = nodes[-1]  # the head holds the cluster together
        for each in [node, *children_of(node)]:
            stop(each)
        return True
    there = victims(kind, process, nodes)
    if there:
        stop(draw.choice(there))
    return bool(there)


def stop(process: int) -> None:
    """Kill a process that this one started, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@contextmanager
def cluster(kind: str) -> Iterator[tuple[str | None, list[int]]]:
    """Start two nodes of Ray's on this machine, for as long as the context."""
    if kind == "rank":
        yield None, []
        return
    # Else its workers give way to all else: on a busy machine for minutes.
    os.environ.update(RAY_worker_niceness="0")
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        second = made.add_node(num_cpus=1)
        made.wait_for_nodes()
        nodes = [made.head_node, second]
        yield made.address, [_raylet(node) for node in nodes]
    finally:
        made.shutdown()


def _raylet(node: Any) -> int:
    processes = node.all_processes["raylet"]
    return int(processes[0].process.pid)


def main() -> None:
    """Kill at random moments, and write what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("rank", "worker", "node"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    whole = one(chosen.kind, None, draw)
    if whole["exit"] or not whole["records"]:
        raise RuntimeError(f"expected a sweep without kills to end well, got {whole}")
    rows: list[dict[str, Any]] = []
    while len(rows) < chosen.moments:
        row = one(chosen.kind, draw.uniform(0, whole["end after"]), draw)
        records = row.pop("records")
        row["lost"] = len(whole["records"]) - len(records)
        row["same numbers"] = records == whole["records"]
        print(json.dumps(row), flush=True)
        if row["killed after"] is None:  # it had ended
            continue
        rows.append(row)
        found = {
            "kind": chosen.kind,
            "without a kill": {k: v for k, v in whole.items() if k != "records"},
            "records": len(whole["records"]),
            "rows": rows,
            "environment": describe_environment("torch", device="cpu", threads=1),
        }
        write_json(chosen.out, found)


if __name__ == "__main__":
    main()
