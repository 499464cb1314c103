"""The phases of measure.py, each by name: ``phases.py NAME --out FOLDER``."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Sides of square inputs of three channels, but for the MLP's rows.
SHAPES = {
    "mlp": (784,),
    "lenet-5": (3, 32, 32),
    "alexnet-6": (3, 32, 32),
    "resnet-18": (3, 32, 32),
    "vit": (3, 32, 32),
}
DRY_SHAPES = {"mlp": (12,)}
JAX = ("mlp", "lenet-5", "alexnet-6")  # those that `rgo_bench.runs.jit` converts
BATCHES = (10, 256)
CELLS = (
    ("rgo", "resnet-18"),
    ("rgo-2", "resnet-18"),
    ("sgd", "resnet-18-bn"),
    ("stl", "resnet-18-bn"),
    ("sgd", "resnet-18"),
    ("stl", "resnet-18"),
)
CUDA_TESTS = (
    "tests/torch_backend",
    "tests/bench/runs/test_continued_runs.py",
    "tests/bench/test_clock.py",
)


class Asked(NamedTuple):
    """What a phase is told."""

    out: Path
    end: float  # on the clock of `time.monotonic`
    dry_run: bool

    @property
    def device(self) -> str:
        """The CPU in a dry run."""
        return "cpu" if self.dry_run else "cuda"

    @property
    def left(self) -> float:
        """The seconds left."""
        return self.end - time.monotonic()


def run_tests(asked: Asked) -> None:
    """Run the tests that need CUDA; on a CPU all of them are skipped."""
    paths = ("tests/bench/test_clock.py",) if asked.dry_run else CUDA_TESTS
    report = asked.out / "tests.xml"
    words = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", *paths]
    done = subprocess.run([*words, f"--junitxml={report}"], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def time_steps(asked: Asked) -> None:
    """Time steps: eager and compiled with CUDA graphs, then JAX's."""
    from jax_steps import time_jax_step  # only here: the other phases need no JAX

    from rgo_bench.measure.steps import measure_step

    shapes = DRY_SHAPES if asked.dry_run else SHAPES
    quick: dict[str, Any] = {"repeats": 1, "seconds": 0.01} if asked.dry_run else {}
    rows = Rows(asked, "steps.json")
    for batch in (2,) if asked.dry_run else BATCHES:
        for network, shape in shapes.items():
            if asked.left < 20:
                rows.skip(f"{network} at batch {batch}: no time")
                continue
            with rows.attempt(network, batch, "torch") as add:
                row = measure_step(
                    *(network, shape),
                    batch=batch,
                    device=asked.device,
                    compiled=not asked.dry_run,
                    **({"repeats": 5, "seconds": 0.3} | quick),
                )
                add(row._asdict())
            if network in JAX:
                steps = 5 if asked.dry_run else 300
                with rows.attempt(network, batch, "jax") as add:
                    add(time_jax_step(network, shape, batch, asked.device, steps))


def measure_passes(asked: Asked) -> None:
    """Measure the peak memory of curvature passes beside that of training steps."""
    from rgo_bench.measure.pass_memory import measure_memory

    rows = Rows(asked, "memory.json")
    for network, shape in (DRY_SHAPES if asked.dry_run else SHAPES).items():
        if asked.left < 10:
            rows.skip(f"{network}: no time")
            continue
        with rows.attempt(network, 10, "torch") as add:
            add(measure_memory(network, shape, device=asked.device)._asdict())


def run_cells(asked: Asked) -> None:
    """Run the CIFAR half of Table 1, all cells at once, a process each."""
    cells = (("rgo", "lenet-5"),) if asked.dry_run else CELLS
    processes = [_cell(asked, *cell) for cell in cells]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(1)


def _cell(asked: Asked, method: str, network: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, str(Path(__file__).with_name("cell.py"))]
    words += [method, network, "--out", str(asked.out), "--device", asked.device]
    words += ["--seconds", str(round(asked.left))]
    words += ["--compile"] if _compiles(asked, network) else []
    words += ["--dry-run"] if asked.dry_run else []
    return subprocess.Popen(words)


def _compiles(asked: Asked, network: str) -> bool:
    """Return whether compiled steps of RGO were measured faster than plain ones."""
    path = asked.out / "steps.json"
    if asked.dry_run or not path.exists():
        return False
    rows = json.loads(path.read_text())["rows"]
    factors = [
        row["rgo_compiled"]
        for row in rows
        if row["network"] == network.removesuffix("-bn")
        and row["batch"] == BATCHES[0]
        and row.get("rgo_compiled") is not None
    ]
    return bool(factors) and factors[0] < 1


class Rows:
    """A file of rows, written anew with each; what failed is kept as such."""

    def __init__(self, asked: Asked, name: str) -> None:
        import torch  # only here: two phases only start others

        from rgo_bench.records import describe_environment

        self._path = asked.out / name
        device = "cpu" if asked.dry_run else torch.cuda.get_device_name()
        threads = torch.get_num_threads()
        environment = describe_environment("torch", device=device, threads=threads)
        self._content: dict[str, Any] = {
            "rows": [],
            "left_out": [],
            "environment": environment,
        }

    def attempt(self, network: str, batch: int, backend: str) -> "Attempt":
        """Return a context in which to measure, and to add what was measured."""
        return Attempt(self, {"network": network, "batch": batch, "backend": backend})

    def add(self, row: dict[str, Any]) -> None:
        """Add a row."""
        self._content["rows"].append(row)
        self._write()

    def skip(self, why: str) -> None:
        """Note what was not measured."""
        print(why, flush=True)
        self._content["left_out"].append(why)
        self._write()

    def _write(self) -> None:
        self._path.write_text(json.dumps(self._content, indent=2) + "\n")


class Attempt:
    """A measurement whose failure spoils no other."""

    def __init__(self, rows: Rows, names: dict[str, Any]) -> None:
        self._rows, self._names = rows, names

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        return lambda row: self._rows.add(self._names | row)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Exception):
            names = " ".join(str(name) for name in self._names.values())
            self._rows.skip(f"{names}: {type(error).__name__}: {error}")
            return True
        return False


PHASES: dict[str, Callable[[Asked], None]] = {
    "tests": run_tests,
    "steps": time_steps,
    "memory": measure_passes,
    "cells": run_cells,
}


def main() -> None:
    """Run the phase that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=PHASES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    end = time.monotonic() + asked.seconds
    PHASES[asked.phase](Asked(asked.out.resolve(), end, asked.dry_run))


if __name__ == "__main__":
    main()
