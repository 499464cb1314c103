"""A network whose layers gain units, with a head for each task."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.methods.method import Method, MethodOptions, Setting
from rgo_bench.methods.task_heads import TaskHeads
from rgo_torch import FeatureEncoding
from rgo_torch.layout import row_layers


class GrowingNetwork:
    """A chain of layers with room for more units, of which a task uses its first ones.

    Layer l has a weight ``(m_l, n_l)``, or ``(m_l, n_l, k, k)`` of a convolution; new
    units are new rows, and new columns of the layer above. A task is predicted with the
    rows and columns that were there at its time: its stamp (Yoon et al., 2018). The
    setting's network must be a chain (`nn.Sequential`) of linear layers and
    convolutions, the last of which is the head.
    """

    def __init__(self, setting: Setting) -> None:
        network = setting.make_network(setting.seed)
        layers = row_layers(network)
        is_chain = isinstance(network, nn.Sequential)
        if not is_chain or any(x.groups > 1 or "." in x.name for x in layers):
            raise ValueError(
                "expected a chain of layers without groups (nn.Sequential, none inside "
                f"of another), got {type(network).__name__}"
            )
        self.device = setting.device
        self.size = sum(p.numel() for p in network.parameters())  # at first
        *body, head = layers
        self.names = [layer.name for layer in body]
        below = takewhile(lambda child: child[0] != head.name, network.named_children())
        # Of a width that grows nothing is encoded.
        kept = {n: each for n, each in below if not isinstance(each, FeatureEncoding)}
        self.body = nn.Sequential(OrderedDict(kept))
        self.weights = {x.name: nn.Parameter(x.weight.detach().clone()) for x in body}
        self.biases = {
            x.name: nn.Parameter(x.bias.detach().clone())
            for x in body
            if x.bias is not None
        }
        self.first = self.widths
        inputs = [self.weights[name].shape[1] for name in self.names[1:]]
        inputs.append(head.features)
        # Columns that one unit below fills: the positions that are flattened.
        self._spread = [n // m for n, m in zip(inputs, self.first, strict=True)]
        self.heads = TaskHeads(setting)
        self.stamps: dict[int, tuple[int, ...]] = {}
        self.generator = torch.Generator().manual_seed(setting.seed)

    @property
    def widths(self) -> list[int]:
        """The units that each layer has now."""
        return [len(self.weights[name]) for name in self.names]

    def copied(self) -> dict[str, Tensor]:
        """Return copies of weights by layer, and of biases by ``layer.bias``."""
        weights = {name: w.detach().clone() for name, w in self.weights.items()}
        biases = {f"{n}.bias": b.detach().clone() for n, b in self.biases.items()}
        return weights | biases

    def grow(self, added: Sequence[int]) -> None:
        """Give each layer more units, which all units of the layer below feed.

        Weights are uniform in +-1/sqrt(n), biases 0; those that lead from new units to
        units that were there before are 0.
        """
        below = 0
        for place, (name, more) in enumerate(zip(self.names, added, strict=True)):
            weight = self.weights[name].detach()
            columns = below * self._spread[place - 1] if place else 0
            kernel = [0, 0] * (weight.ndim - 2)
            wider = functional.pad(weight, [*kernel, 0, columns, 0, more])
            bound = wider[0].numel() ** -0.5 if more else 0
            rows = torch.empty(more, *wider.shape[1:])
            rows.uniform_(-bound, bound, generator=self.generator)
            wider[len(weight) :] = rows.to(weight.device)
            self.weights[name] = nn.Parameter(wider)
            if name in self.biases:
                bias = self.biases[name].detach()
                self.biases[name] = nn.Parameter(functional.pad(bias, [0, more]))
            below = more

    def columns_of(self, place: int, units: Tensor) -> Tensor:
        """Return which columns of the layer above some units of a layer feed."""
        each = torch.arange(self._spread[place], device=units.device)
        return (units[:, None] * self._spread[place] + each).flatten()

    def columns(self, widths: Sequence[int]) -> list[int | None]:
        """Return the columns of each layer that such widths below feed; None: all."""
        fed = [m * k for m, k in zip(widths, self._spread, strict=True)]
        return [None, *fed[:-1]]

    @torch.no_grad()
    def take(self, place: int, units: Tensor, task: int) -> None:
        """Leave of a layer some units, in their order; those named twice are copied.

        With them go the columns that they feed, of the layer above or a task's head.
        """
        name, columns = self.names[place], self.columns_of(place, units)
        self.weights[name] = nn.Parameter(self.weights[name][units])
        if name in self.biases:
            self.biases[name] = nn.Parameter(self.biases[name][units])
        if place + 1 < len(self.names):
            above = self.names[place + 1]
            self.weights[above] = nn.Parameter(self.weights[above][:, columns])
        else:
            head, bias = self.heads.heads[task]
            self.heads.heads[task] = nn.Parameter(head[:, columns]), bias

    def widen_head(self, task: int) -> None:
        """Let a task's head, with weights of 0 at first, and stamp reach all units."""
        weight, bias = self.heads.heads[task]
        more = self.widths[-1] * self._spread[-1] - weight.shape[1]
        wider = functional.pad(weight.detach(), [0, more])
        self.heads.heads[task] = nn.Parameter(wider), bias
        self.stamp(task)

    def stamp(self, task: int) -> None:
        """Let a task be predicted with the units that there are now."""
        self.stamps[task] = tuple(self.widths)

    def add_head(self, task: int) -> None:
        """Draw the head of a task, over all units of the last layer, and stamp it."""
        features = self.widths[-1] * self._spread[-1]
        self.heads.add(task, features, self.generator)
        self.stamp(task)

    def logits(self, x: Tensor, task: int) -> Tensor:
        """Return a task's logits (b, classes), as its stamp sees the network."""
        values: dict[str, Tensor] = {}
        widths = self.stamps[task]
        layers = zip(self.names, widths, self.columns(widths), strict=True)
        for name, width, columns in layers:
            values[f"{name}.weight"] = self.weights[name][:width, :columns]
            if name in self.biases:
                values[f"{name}.bias"] = self.biases[name][:width]
        return self.heads.logits(functional_call(self.body, values, (x,)), task)

    def parameters(self, task: int) -> list[nn.Parameter]:
        """Return all weights and biases of the layers, and those of a task's head."""
        return [*self.weights.values(), *self.biases.values(), *self.heads.heads[task]]

    def capacity(self) -> float:
        """Return the weights of layers and heads, in percent of one network's."""
        state = [self.weights, self.biases, self.heads.state_dict()]
        return 100 * tensor_bytes(state) / (4 * self.size)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, the heads and the stamps."""
        return {
            "weights": {k: p.detach() for k, p in self.weights.items()},
            "biases": {k: p.detach() for k, p in self.biases.items()},
            "heads": self.heads.state_dict(),
            "stamps": {str(task): list(s) for task, s in self.stamps.items()},
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        for kind, own in (("weights", self.weights), ("biases", self.biases)):
            for name, value in state[kind].items():
                own[name] = nn.Parameter(value.to(self.device, copy=True))
        self.heads.load_state_dict(state["heads"])
        self.stamps = {int(task): tuple(s) for task, s in state["stamps"].items()}
        self.generator.set_state(state["generator"].cpu())


class GrowingMethod(Method):
    """A method whose state is a growing network."""

    kept = ("network",)

    def __init__(self, setting: Setting, options: MethodOptions) -> None:
        super().__init__(setting, options)
        self.network = GrowingNetwork(setting)

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the logits as the units at the task's time give them."""
        with torch.no_grad():
            return self.network.logits(x, task)

    def capacity(self) -> float:
        """Return the weights of layers and heads, in percent of one network's."""
        return self.network.capacity()
