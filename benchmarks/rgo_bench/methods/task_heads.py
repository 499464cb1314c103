"""A last layer for every task, as methods that keep their tasks apart have it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rgo_bench.methods.method import Setting

# A head's weight (c, n) and bias (c,), c the outputs in play in its task.
Head = tuple[nn.Parameter, nn.Parameter]


class TaskHeads:
    """The heads of the tasks begun, each with the outputs in play in its task."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.heads: dict[int, Head] = {}

    def add(self, task: int, features: int, generator: torch.Generator) -> Head:
        """Draw a task's head: weights uniform in +-1/sqrt(n), biases 0."""
        mask, bound = self._setting.masks[task], features**-0.5
        outputs = self._setting.classes if mask is None else int(mask.sum())
        weight = torch.empty(outputs, features)
        weight.uniform_(-bound, bound, generator=generator)
        self.heads[task] = self._placed(weight, torch.zeros(outputs))
        return self.heads[task]

    def logits(self, features: Tensor, task: int) -> Tensor:
        """Return the logits (b, classes), those out of play at minus infinity."""
        return self.spread(nn.functional.linear(features, *self.heads[task]), task)

    def spread(self, own: Tensor, task: int) -> Tensor:
        """Return (b, classes) from the outputs (b, c) of a task's head."""
        mask = self._setting.masks[task]
        if mask is None:
            return own
        # Without asking how many are in play: no step waits for the device.
        place = (mask.cumsum(0) - 1).clamp(min=0).expand(len(own), -1)
        return own.gather(1, place).masked_fill(~mask, -torch.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and biases by task."""
        return {
            str(task): {"weight": weight.detach(), "bias": bias.detach()}
            for task, (weight, bias) in self.heads.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.heads = {
            int(task): self._placed(head["weight"], head["bias"])
            for task, head in state.items()
        }

    def _placed(self, weight: Tensor, bias: Tensor) -> Head:
        device = self._setting.device
        return (
            nn.Parameter(weight.to(device, copy=True)),
            nn.Parameter(bias.to(device, copy=True)),
        )
