"""The most memory that a process holds while something runs."""

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def peak_meter() -> Callable[[], float | None]:
    """Begin to measure, and return what tells the MiB held at most since, over now.

    Linux alone resets its count of the most that was held; elsewhere None is told.
    """
    # The first optimizer of a process imports a compiler, which is large.
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    gc.collect()
    if not sys.platform.startswith("linux") or not _reset():
        return lambda: None
    start = _kibibytes("VmRSS")
    return lambda: (_kibibytes("VmHWM") - start) / 1024


def _reset() -> bool:
    try:
        # What was freed goes back to the system, or it would hide what is taken next.
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
    except (OSError, AttributeError):
        return False
    return True


def _kibibytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise OSError(f"{_STATUS}: expected a line {field}, got none")
