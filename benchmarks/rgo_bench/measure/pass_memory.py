"""What a curvature pass holds beside a training step."""

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

import rgo_torch
from rgo_bench.measure.apart import answer, ask
from rgo_bench.measure.subjects import Subject
from rgo_torch.observation.blocks import BLOCKS

STATM = Path("/proc/self/statm")  # Linux's: the pages that a process holds now


class PassMemory(NamedTuple):
    """Memory in MiB above the network itself, at most."""

    network: str
    input_shape: list[int]
    batch: int
    train: float  # of a training step
    observe: float  # of a curvature pass
    moments: float  # of the second moments in it

    @property
    def ratio(self) -> float:
        """The pass without its second moments, over the step."""
        return (self.observe - self.moments) / self.train


def measure_memory(
    network: str, input_shape: tuple[int, ...], *, batch: int = 10, device: str = "cpu"
) -> PassMemory:
    """Measure the memory of a training step and of a curvature pass.

    Each runs in a process of its own: on the host, which must be Linux, by the most
    that the process held, on CUDA by what PyTorch allocated.
    """
    if device == "cpu" and not STATM.exists():
        raise OSError(f"memory on the CPU is measured by {STATM}, which is not here")
    shape = list(input_shape)
    question = {"network": network, "shape": shape, "batch": batch, "device": device}
    train, observe = (
        ask("pass_memory", network, {**question, "what": what})
        for what in ("train", "observe")
    )
    peaks = train["peak"], observe["peak"]
    return PassMemory(network, shape, batch, *peaks, observe["moments"])


def _answer(question: Mapping[str, Any]) -> dict[str, float]:
    """Take what is asked for in this process, which was started for nothing else."""
    device, batch = torch.device(question["device"]), question["batch"]
    subject = Subject(question["network"], tuple(question["shape"]), batch, device)
    model = subject.make()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with torch.no_grad():  # the libraries allocate what they keep
        model(next(subject._replace(batch=1).draw(1))[0])
    before, moments = _held(device), 0
    if question["what"] == "train":
        for x, y in subject.draw(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    else:
        count = 2 + max(BLOCKS) // batch  # enough to fold a block
        found = rgo_torch.second_moments(model, subject.draw(count))
        moments = sum(part.nbytes for m in found.values() for part in m if part.ndim)
    peak = _held(device, peak=True) - before
    return {"peak": peak / 2**20, "moments": moments / 2**20}


def _held(device: torch.device, *, peak: bool = False) -> float:
    """Return the bytes held now, or at most so far."""
    if device.type == "cuda":
        return float(
            torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
        )
    if peak:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10)
    return float(int(STATM.read_text().split()[1]) * resource.getpagesize())


if __name__ == "__main__":
    answer(_answer)
