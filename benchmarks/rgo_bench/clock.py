"""How long each phase of a run takes."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from rgo_bench.records import PHASES


class Clock:
    """Adds up seconds by phase, on from those that an interrupted run had spent.

    The device is waited for at both ends of a phase, so that its work counts there.
    """

    def __init__(
        self,
        device: torch.device,
        seconds: Mapping[str, float] | None = None,
        *,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._device, self._now = device, now
        self.seconds = dict.fromkeys(PHASES, 0.0) | dict(seconds or {})

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the context towards a phase of `PHASES`."""
        self._wait()
        start = self._now()
        yield
        self._wait()
        self.seconds[name] += self._now() - start

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
