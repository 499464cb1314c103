"""Training an adapter plainly, with RGO, with its halves, and for each task anew."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Final

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

import rgo_torch
from rgo_bench.lora.registry import Entry
from rgo_bench.zoo import methods as zoo
from rgo_bench.zoo.loss import score
from rgo_bench.zoo.models.hugging_face import need
from rgo_bench.zoo.streams import Samples

ALPHA: Final = 16


class Method(zoo.Learner):
    """An adapter, trained plainly.

    The seed draws the encoding; the model is drawn from PyTorch's generator.
    """

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        self.entry = entry
        self.model = self.build()
        self.optimizer = self.make_optimizer()

    @property
    def lr(self) -> float:
        """The learning rate of AdamW."""
        return self.entry.lr

    def build(self) -> nn.Module:
        """Return the model with LoRA on some layers, beside a new head."""
        entry = self.entry
        peft = need("peft")
        config = peft.LoraConfig(
            r=entry.rank,
            lora_alpha=ALPHA,
            target_modules=list(entry.targets),
            modules_to_save=None if entry.head is None else [entry.head],
        )
        model: nn.Module = peft.get_peft_model(entry.build(), config)
        return model

    def make_optimizer(self) -> Optimizer:
        """Return AdamW over what is trained."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return AdamW(trained, lr=self.lr)


class Frozen(Method):
    """The head alone is trained."""

    def build(self) -> nn.Module:
        """Return the model without an adapter, but with a new head."""
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

    def begin_task(self, task: int) -> None:
        """Encode for a task from now on."""
        self.encoder.set_task(task)

    def task(self, task: int) -> AbstractContextManager[None]:
        """Encode for a task, inside the context."""
        return self.encoder.task(task)


class Protected(Method, zoo.Protected):
    """RGO around the optimizer."""

    curvature_samples: ClassVar[int] = 256
    own: Mapping[str, Any] = {}

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        super().__init__(entry, seed, options)
        self.protect(seed, {**self.own, **options})

    def score_of(self, samples: Samples) -> Callable[..., Tensor] | None:
        """Return the score of many positions: of one label RGO has it itself."""
        return score if samples.y.ndim > 1 else None


class Unencoded(Protected):
    """The same without the encoding."""

    own: Mapping[str, Any] = {"encode": False}
