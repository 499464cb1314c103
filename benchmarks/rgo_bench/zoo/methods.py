"""What the models are trained with: plainly, the head alone, jointly, with RGO."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Final

from torch import Tensor, nn
from torch.optim import Optimizer

import rgo_torch
from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.methods.rgo_arguments import FLAT, rgo_arguments
from rgo_bench.zoo.loss import loss as mean_loss
from rgo_bench.zoo.loss import score
from rgo_bench.zoo.registry import Entry
from rgo_bench.zoo.streams import Samples

# Options of RGO; those with AdamW tell what its default was when they were recorded.
_UPDATE: Final[Mapping[str, Any]] = {"project": "update", "relative": True}
METHODS: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain": {},
    "rgo": _UPDATE,
    "rgo-unencoded": {**_UPDATE, "encode": False},
    "frozen": {},
    "joint": {},
    "plain-sgd": {},
    "rgo-sgd": {},
}
CURVATURE_BATCH = 64


class Learner:
    """A model, its optimizer, and what happens around the training of a task."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def begin_task(self, task: int) -> None:
        """Hear that a task begins."""

    def end_task(self, samples: Samples) -> None:
        """Hear that a task was trained on `samples`."""

    def task(self, task: int) -> AbstractContextManager[None]:
        """Make `model` that of a task, inside the context."""
        return nullcontext()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what a step of training descends."""
        return mean_loss(self.model(x), y)

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of the state at the end."""
        return {}


class Protected(Learner):
    """RGO around the optimizer."""

    curvature_samples: ClassVar[int] = 512

    def protect(self, seed: int, options: Mapping[str, Any]) -> None:
        """Put RGO around the optimizer, with options of `rgo_torch.RGO`."""
        arguments = rgo_arguments(**options)
        self.rgo = rgo_torch.RGO(self.model, self.optimizer, seed=seed, **arguments)

    def begin_task(self, task: int) -> None:
        """Encode for a task, and project from now on."""
        self.rgo.begin_task(task)

    def task(self, task: int) -> AbstractContextManager[None]:
        """Encode for a task, inside the context."""
        return self.rgo.task(task)

    def score_of(self, samples: Samples) -> Callable[..., Tensor] | None:
        """Return the score that samples are observed by; None for RGO's own."""
        return score

    def end_task(self, samples: Samples) -> None:
        """Observe some of a task's samples, spread over all of them."""
        some = samples.spread(self.curvature_samples)
        batches = zip(*(part.split(CURVATURE_BATCH) for part in some), strict=True)
        self.rgo.end_task(
            list(batches), score=self.score_of(samples), whole=len(samples.x)
        )

    def facts(self) -> dict[str, Any]:
        """Return the share protected in percent, and the bytes of the state."""
        return {
            "protected": 100 * self.rgo.projector.protected_share,
            "state_bytes": tensor_bytes(self.rgo.state_dict()),
        }


def uses_sgd(method: str) -> bool:
    """Whether a method steps with SGD and momentum; the others do with AdamW."""
    return method.endswith("-sgd")


def steps_of(entry: Entry, method: str) -> int:
    """Return how many steps a task takes with a method."""
    return entry.sgd_steps or entry.steps if uses_sgd(method) else entry.steps


def check_options(options: Mapping[str, Any]) -> None:
    """Raise unless RGO has these options."""
    given = {"model", "optimizer", "seed", "observe", "old"}
    own = set(inspect.signature(rgo_torch.RGO).parameters) - given
    known = sorted(own.union(FLAT))
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"--set: expected options of RGO, {', '.join(known)}, "
            f"got {', '.join(unknown)}"
        )
