"""What a method of learning task after task is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.compilation import Forward
from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.streams.options import Options
from rgo_torch.observation.calls import evaluating


@dataclass(frozen=True, kw_only=True)
class MethodOptions(Options):
    """What a method lets the user choose; none here."""

    def resolved(self, network: str, samples: int) -> Self:
        """Return the options with what is left to the method filled in.

        It may depend on the network and on how many samples a task has.
        """
        return self


class Setting(NamedTuple):
    """What every method is given: the same for all of them."""

    make_network: Callable[[int], nn.Module]  # from a seed, on the device
    seed: int
    tasks: int
    classes: int
    lr: float
    batch: int
    device: torch.device
    masks: tuple[Tensor | None, ...]  # (classes,) bool a task; None: all in play
    own_outputs: bool = False  # whether no output is in play in two tasks
    # From a network to what training steps call; None: the network itself.
    compile_network: Callable[[nn.Module], Forward] | None = None


class Method(ABC):
    """Learns tasks one after another.

    The runner calls `begin_task`, then `step` for every mini-batch, then `end_task`;
    `predict` for any task begun, at any time.

    Parameters
    ----------
    setting : Setting
    options : MethodOptions
        Of the method's own subclass.
    """

    options: MethodOptions

    # Whether a task once learned stays as it is, so that it need not be tested again.
    keeps_tasks: ClassVar[bool] = False
    # Whether steps call what the setting's `compile_network` returns.
    compiles: ClassVar[bool] = False
    # Whether several processes may make one run, each with a part of every mini-batch;
    # what the method makes of a task is then the same in all.
    parallel: ClassVar[bool] = False

    def __init__(self, setting: Setting, options: MethodOptions) -> None:
        self.setting = setting
        self.options = options
        self.current = 0

    def begin_task(self, task: int) -> None:
        """Prepare for training on a task."""
        self.current = task

    @property
    @abstractmethod
    def kept(self) -> tuple[str, ...]:
        """Its attributes that are kept: generators, mappings, or of a `state_dict`."""

    @abstractmethod
    def step(self, x: Tensor, y: Tensor) -> None:
        """Train on one mini-batch of the current task."""

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:  # noqa: B027
        """Take note of the task just learned, given its training samples.

        What is timed as "curvature" or "consolidate" goes under `clock`.
        """

    @abstractmethod
    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the logits (b, classes), those out of play at minus infinity."""

    def state_dict(self) -> dict[str, Any]:
        """Return the states of what is `kept`, for a checkpoint between two tasks."""
        own = {name: getattr(self, name) for name in self.kept}
        return {name: _state_of(value) for name, value in own.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the states of what is `kept`."""
        for name in self.kept:
            own = getattr(self, name)
            if isinstance(own, torch.Generator):
                own.set_state(state[name].cpu())
            elif hasattr(own, "load_state_dict"):
                own.load_state_dict(state[name])
            else:
                setattr(self, name, dict(state[name]))
        self.restored()

    def restored(self) -> None:  # noqa: B027
        """Make what else follows from what is `kept`, taken over or changed."""

    def kept_bytes(self) -> int:
        """Return the bytes of all that is kept for later tasks and for predictions.

        That is what a checkpoint holds. What is drawn anew from a seed, as RGO's
        permutations are, and what lives within a task alone does not count.
        """
        return tensor_bytes(self.state_dict())

    def capacity(self) -> float:
        """Return the weights that are kept, in percent of one network's.

        As the paper's Table 2 counts: weights that predictions are made with, and none
        of what else is kept, for which see `kept_bytes`.
        """
        return 100.0


class NetworkMethod(Method):
    """A method that trains one network with plain SGD, as all of the paper's do.

    Subclasses change the gradient between `backward` and `optimizer.step`, or the
    loss, which takes its logits from `forward`.
    """

    compiles: ClassVar[bool] = True
    kept: tuple[str, ...] = ("network", "optimizer")

    def __init__(self, setting: Setting, options: MethodOptions) -> None:
        super().__init__(setting, options)
        self.network = setting.make_network(setting.seed)
        self.forward: Forward = self.network
        if self.compiles and setting.compile_network is not None:
            self.forward = setting.compile_network(self.network)
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
            self.network.parameters(), lr=setting.lr
        )

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take one SGD step on the mini-batch's loss."""
        self.optimizer.zero_grad()
        self.loss(x, y).backward()
        self.optimizer.step()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy over the current task's classes."""
        logits = masked(self.forward(x), self.setting.masks[self.current])
        return functional.cross_entropy(logits, y)

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the network's logits in eval mode, masked for the task."""
        with evaluating(self.network):
            return masked(self.network(x), self.setting.masks[task])


def _state_of(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if hasattr(value, "state_dict"):
        return value.state_dict()
    if not isinstance(value, Mapping):
        raise TypeError(
            "kept: expected a mapping, a generator of PyTorch's or what has a "
            f"state_dict, got a {type(value).__name__}"
        )
    return dict(value)


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Set the logits of classes out of play to minus infinity."""
    return logits if mask is None else logits.masked_fill(~mask, -torch.inf)


def fitting(samples: int, entries: int, input_shape: Sequence[int]) -> int:
    """Return how many samples of a shape to take at a time: at most `samples`.

    All inputs together have at most `entries` too, if that leaves one sample.

    >>> fitting(500, 10_000, (784,)), fitting(500, 10_000, (3, 84, 84))
    (12, 1)
    """
    return max(1, min(samples, entries // math.prod(input_shape)))
