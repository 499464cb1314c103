"""Training an adapter plainly, with RGO, with its halves, and for each task anew."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

import rgo_torch
from rgo_bench.lora.model import adapted
from rgo_bench.lora.registry import Entry
from rgo_bench.methods.rgo_arguments import rgo_arguments
from rgo_bench.zoo.loss import score
from rgo_bench.zoo.methods import Learner, batches_of, facts_of
from rgo_bench.zoo.streams import Samples

CURVATURE_SAMPLES = 256


class Method(Learner):
    """An adapter, trained plainly.

    Parameters
    ----------
    entry : Entry
        The stream's model, and how it is trained.
    seed : int
        Draws the encoding; the model is drawn from PyTorch's generator.
    options : mapping
        Of `rgo_torch.RGO`.
    """

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        self.entry = entry
        self.model = self.build()
        self.optimizer = self.make_optimizer()

    def build(self) -> nn.Module:
        """Return the model."""
        entry = self.entry
        return adapted(entry.build(), entry.targets, entry.head, entry.rank)

    def make_optimizer(self) -> Optimizer:
        """Return AdamW over what is trained."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return AdamW(trained, lr=self.entry.lr)


class Frozen(Method):
    """The head alone is trained."""

    def build(self) -> nn.Module:
        """Return the model without an adapter.

        Raises
        ------
        ValueError
            If it has no new head.
        """
        if self.entry.head is None:
            raise ValueError(
                "frozen: expected a stream with a new head to be trained, got one of "
                f"{self.entry.model} without"
            )
        return self.entry.build()


class Each(Method):
    """Every task has an adapter and a head of its own: nothing can be forgotten."""

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        super().__init__(entry, seed, options)
        self._models: list[nn.Module] = []

    def begin_task(self, task: int) -> None:
        """Make a new adapter, but for the first task, which has one."""
        if task:
            self.model = self.build()
            self.optimizer = self.make_optimizer()
        self._models.append(self.model)

    def task(self, task: int) -> AbstractContextManager[None]:
        """Put the model of that task in its place."""
        self.model = self._models[task]
        return nullcontext()


class Encoded(Method):
    """Each task has its encoding, and nothing is projected."""

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        super().__init__(entry, seed, options)
        self.encoder = rgo_torch.FeatureEncoder(self.model, seed=seed)
        self.begin_task = self.encoder.set_task  # type: ignore[method-assign]
        self.task = self.encoder.task  # type: ignore[method-assign]


class Protected(Method):
    """RGO around the optimizer."""

    own: Mapping[str, Any] = {}

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        super().__init__(entry, seed, options)
        arguments = rgo_arguments(**{**self.own, **options})
        self.rgo = rgo_torch.RGO(self.model, self.optimizer, seed=seed, **arguments)
        self.begin_task = self.rgo.begin_task  # type: ignore[method-assign]
        self.task = self.rgo.task  # type: ignore[method-assign]

    def end_task(self, samples: Samples) -> None:
        """Observe some of a task's samples, spread over all of them."""
        # Of one label a sample RGO has the score itself.
        each_position = samples.y.ndim > 1
        batches = batches_of(samples.spread(CURVATURE_SAMPLES))
        self.rgo.end_task(batches, score=score if each_position else None)

    def facts(self) -> dict[str, Any]:
        """Return the share protected in percent, and the bytes of the state."""
        return facts_of(self.rgo)


class Unencoded(Protected):
    """The same without the encoding."""

    own: Mapping[str, Any] = {"encode": False}
