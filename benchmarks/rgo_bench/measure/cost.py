"""What a method costs beside another: whole runs, interleaved, each in a process.

Machines are shared and noisy: only a ratio within one measurement means something.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rgo_bench.measure.apart import answer, ask
from rgo_bench.methods import METHODS
from rgo_bench.runs.attempts import import_plugins
from rgo_bench.runs.reporter import Silent
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import check_name, make_spec
from rgo_bench.runs.threads import limit_threads
from rgo_bench.streams import STREAMS


class Cost(NamedTuple):
    """One whole run."""

    method: str
    total: float  # seconds, from reading the data to the record
    seconds: dict[str, float]  # of each phase
    peak: float  # MiB of memory that the process held at most


def measure_costs(
    stream: str,
    methods: Sequence[str],
    *,
    options: Mapping[str, Any],
    repeats: int,
    threads: int = 1,
    plugins: Sequence[str] = (),
    ran: Callable[[Cost], None] = lambda cost: None,
) -> list[Cost]:
    """Run each method `repeats` times in turn and return what every run took.

    Methods are named as `parse_subject` reads them; each has those of the options that
    are its own or the stream's. `ran` is told of every run as it ends.
    """
    costs = []
    for _ in range(repeats):
        for method in methods:
            asked = {
                "stream": stream,
                "method": method,
                "options": own_options(stream, method, options),
                "threads": threads,
                "plugins": list(plugins),
            }
            found = ask("cost", f"{method} on {stream}", asked, threads)
            costs.append(Cost(**found))
            ran(costs[-1])
    return costs


def parse_subject(text: str) -> tuple[str, str, int]:
    """Read ``METHOD[:BACKEND[:SEEDS]]``: what is timed, several seeds at once.

    Examples
    --------
    >>> parse_subject("rgo"), parse_subject("rgo:jax:5")
    (('rgo', 'torch', 1), ('rgo', 'jax', 5))
    """
    method, *rest = text.split(":")
    backend, seeds = [*rest, *("torch", "1")[len(rest) :]][:2]
    if len(rest) > 2 or not seeds.isdecimal() or int(seeds) < 1:
        raise ValueError(f"--method: expected METHOD[:BACKEND[:SEEDS]], got {text!r}")
    if int(seeds) > 1 and backend != "jax":
        raise ValueError(f"--method: expected several seeds of jax alone, got {text!r}")
    return method, backend, int(seeds)


def own_options(
    stream: str, subject: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options that the stream or the subject's method has."""
    method, _, _ = parse_subject(subject)
    check_name("stream", stream, STREAMS)
    check_name("method", method, METHODS)
    known = {*STREAMS[stream].defaults.as_dict(), *METHODS[method].defaults.as_dict()}
    if METHODS[method].presets:
        known.add("preset")
    return {name: value for name, value in options.items() if name in known}


def summarize_costs(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Return for each method the medians, and their ratios to the first method's.

    The run of median length gives the phases, so that they belong together.
    """
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(cost.method for cost in costs):
        runs = sorted((c for c in costs if c.method == method), key=lambda c: c.total)
        row = {
            "method": method,
            "runs": len(runs),
            "total": round(median(run.total for run in runs), 2),
            "seconds": runs[(len(runs) - 1) // 2].seconds,
            "peak": round(median(run.peak for run in runs), 1),
        }
        rows.append(row)
        row["time_ratio"] = round(row["total"] / rows[0]["total"], 3)
        row["memory_ratio"] = round(row["peak"] / rows[0]["peak"], 3)
    return rows


def _answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """Run once in this process, which was started for nothing else."""
    method, backend, seeds = parse_subject(question["method"])
    import_plugins(question["plugins"])
    stream, options = question["stream"], question["options"]
    specs = [
        make_spec(stream, method, seed, options, backend=backend)
        for seed in range(seeds)
    ]
    limit_threads(question["threads"], backend)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        if seeds == 1:
            record = run(specs[0], Path(folder))
        else:
            from rgo_bench.runs.jit import run_mapped  # JAX need not be there

            record = run_mapped(specs, Path(folder), reporter=Silent())[0]
        total = time.perf_counter() - start
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return Cost(question["method"], total, dict(record.seconds), peak)._asdict()


if __name__ == "__main__":
    answer(_answer)
