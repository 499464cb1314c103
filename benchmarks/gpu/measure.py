"""All measurements that need a GPU, in order and within a time limit.

``python benchmarks/gpu/measure.py --out FOLDER`` needs PyTorch, JAX with optax, NumPy,
SciPy, pytest and this checkout: see README.md beside it. Each phase is a process of its
own and writes what it has measured as it goes, so that a cut loses nothing. With
``--dry-run`` every phase does its least on the CPU.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


class Phase(NamedTuple):
    """A part of the measurements."""

    name: str  # of `phases.PHASES`
    share: float  # of the time, at most; what one leaves the next ones have
    needs_data: bool = False


PHASES = (
    Phase("tests", 0.15),
    Phase("steps", 0.35),
    Phase("memory", 0.1),
    Phase("cells", 1.0, needs_data=True),
)
# Packages that may be missing, and where other packages keep a copy.
COPIES = {
    "array_api_compat": ("scipy._lib", "sklearn.externals"),
    "platformdirs": ("pip._vendor",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every phase; return 1 if one failed."""
    asked = _parse(arguments)
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * asked.minutes
    environment = child_environment(out, asked.data)
    results = {}
    for phase in PHASES:
        left = end - time.monotonic()
        seconds = (
            left if phase.share == 1 else min(left, 60 * asked.minutes * phase.share)
        )
        if phase.needs_data and not asked.dry_run and asked.data is None:
            results[phase.name] = "left out: no --data"
        elif seconds < 1:
            results[phase.name] = "left out: no time"
        else:
            results[phase.name] = _run(phase.name, asked, environment, seconds)
        print(f"{phase.name}: {results[phase.name]}", flush=True)
        (out / "phases.json").write_text(json.dumps(results, indent=2) + "\n")
    return int(any(result.startswith("failed") for result in results.values()))


def child_environment(out: Path, data: Path | None) -> dict[str, str]:
    """Return the environment of the phases: this checkout, and what is missing."""
    site = out / "site"
    provide(site)
    folders = [ROOT, ROOT / "backends", ROOT / "benchmarks", HERE, site]
    given = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*map(str, folders), *([given] if given else [])])
    found = {"RGO_DATA": str(data.resolve())} if data is not None else {}
    return {**os.environ, "PYTHONPATH": path, **found}


def provide(site: Path) -> None:
    """Put into a folder what the checkout imports and the machine does not have."""
    site.mkdir(exist_ok=True)
    for package, holders in COPIES.items():
        if importlib.util.find_spec(package) is None:
            shutil.copytree(
                _copy_of(package, holders), site / package, dirs_exist_ok=True
            )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # Records state the version of a package that need not be installed.
    metadata = site / f"rgo-{project['version']}.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(
        f"Metadata-Version: 2.1\nName: rgo\nVersion: {project['version']}\n"
    )


def _copy_of(package: str, holders: Sequence[str]) -> Path:
    for holder in holders:
        try:
            spec = importlib.util.find_spec(f"{holder}.{package}")
        except ImportError:
            continue
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).parent
    raise ModuleNotFoundError(
        f"expected the package {package}, or a copy of it in {' or '.join(holders)}, "
        "got neither: put it on PYTHONPATH"
    )


def _run(
    name: str,
    asked: argparse.Namespace,
    environment: Mapping[str, str],
    seconds: float,
) -> str:
    words = [sys.executable, str(HERE / "phases.py"), name, "--out", str(asked.out)]
    words += ["--seconds", str(round(seconds))]
    words += ["--dry-run"] if asked.dry_run else []
    began = time.monotonic()
    log = asked.out / f"{name}.log"
    with log.open("w") as file:
        try:
            # A phase ends by itself in time; one that hangs is ended.
            done = subprocess.run(
                words,
                env=environment,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=seconds + 15,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"cut off after {seconds + 15:.0f} s; what it measured is kept"
    spent = f"{time.monotonic() - began:.0f} s"
    return f"failed after {spent}: see {log}" if done.returncode else f"done in {spent}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder to write to")
    parser.add_argument("--data", type=Path, help="the folder of CIFAR-100")
    parser.add_argument("--minutes", type=float, default=12, help="for all phases")
    parser.add_argument("--dry-run", action="store_true", help="the least, on the CPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
