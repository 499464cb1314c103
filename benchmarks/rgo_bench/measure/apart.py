"""A measurement in a process of its own, which is started for nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rgo_bench.runs.threads import THREAD_VARIABLES


def ask(
    module: str, subject: str, question: Mapping[str, Any], threads: int | None = None
) -> Any:
    """Put a question to a module of this room, and return what its process answers.

    A process that fails raises RuntimeError with what it said.
    """
    limits = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    process = subprocess.run(
        [sys.executable, "-m", f"rgo_bench.measure.{module}", json.dumps(question)],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"{subject} failed:\n{process.stderr}")
    return json.loads(process.stdout)


def answer(function: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answer the question that this process was started with."""
    print(json.dumps(function(json.loads(sys.argv[1]))))
