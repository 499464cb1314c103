"""Processes that work together, forked from one that has imported everything."""

import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import distributed


def in_processes(count: int, work: Callable[[], Any]) -> list[Any]:
    """Return what `work` returns in each of several processes, joined by gloo."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        children = [_fork(rank, count, work, folder) for rank in range(count)]
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            raise RuntimeError(f"expected {count} processes to end well, got {codes}")
        return [
            pickle.loads((folder / f"{rank}").read_bytes()) for rank in range(count)
        ]


def _fork(rank: int, count: int, work: Callable[[], Any], folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if count > 1:
            distributed.init_process_group(
                "gloo",
                init_method=f"file://{folder}/store",
                rank=rank,
                world_size=count,
                timeout=timedelta(seconds=60),
            )
        (folder / f"{rank}").write_bytes(pickle.dumps(work()))
        if count > 1:
            distributed.destroy_process_group()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
