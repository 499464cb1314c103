"""Processes that work together, forked from one that has imported everything.

Importing takes longer than what a test has them do; and they run few, for all tests of
a file. `fork` is for scripts: a test process has threads, which do not survive it.
"""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed


def run_forked(script: Path, folder: Path, timeout: float = 120) -> None:
    """Run such a script, which leaves what it finds in a folder."""
    subprocess.run(
        [sys.executable, script, folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=timeout,
    )


def fork(count: int, work: Callable[[int, Path], None], folder: Path) -> None:
    """Have several processes, joined by gloo, work each with its rank."""
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            try:
                torch.set_num_threads(1)
                distributed.init_process_group(
                    "gloo",
                    init_method=f"file://{folder}/store",
                    rank=rank,
                    world_size=count,
                    timeout=timedelta(seconds=60),
                )
                work(rank, folder)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(0)  # what is not written tells of a failure
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
