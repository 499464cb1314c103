"""The units of a growing network that a task's head depends on."""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from rgo_bench.methods.growing import GrowingNetwork


class Reach:
    """What is on ways to a task's head whose weights are nowhere 0, to train it alone.

    It is a smaller network of its own: what only weights of 0 connect with the head
    changes none of the task's logits. Its weights are copies, which `write` puts into
    the network: selective retraining (Yoon et al., 2018, algorithm 2).
    """

    def __init__(self, network: GrowingNetwork, task: int) -> None:
        self._network, self._task = network, task
        self.units = reached(network, task)
        *below, self._seen = (
            network.columns_of(place, units) for place, units in enumerate(self.units)
        )
        self._rows = dict(zip(network.names, self.units, strict=True))
        self._columns = dict(zip(network.names[1:], below, strict=True))
        self.weights = {
            name: nn.Parameter(self.of_layer(name, weight.detach()))
            for name, weight in network.weights.items()
        }
        self.biases = {
            name: nn.Parameter(bias.detach()[self._rows[name]])
            for name, bias in network.biases.items()
        }
        weight, self._bias = network.heads.heads[task]
        self._head = nn.Parameter(weight.detach()[:, self._seen])

    def of_layer(self, name: str, weight: Tensor) -> Tensor:
        """Return those of a layer's weights that lead from such units to such units."""
        weight = weight[self._rows[name]]
        return weight[:, self._columns[name]] if name in self._columns else weight

    def parameters(self) -> list[nn.Parameter]:
        """Return the weights and biases of the layers and of the task's head."""
        layers = [*self.weights.values(), *self.biases.values()]
        return [*layers, self._head, self._bias]

    def logits(self, x: Tensor) -> Tensor:
        """Return the task's logits (b, classes), as the network's `logits`."""
        values: dict[str, Tensor] = {
            f"{name}.weight": weight for name, weight in self.weights.items()
        }
        values |= {f"{name}.bias": bias for name, bias in self.biases.items()}
        features = functional_call(self._network.body, values, (x,))
        own = functional.linear(features, self._head, self._bias)
        return self._network.heads.spread(own, self._task)

    @torch.no_grad()
    def write(self) -> None:
        """Put the weights and biases into the network."""
        network = self._network
        for name, weight in self.weights.items():
            rows, columns = self._rows[name], self._columns.get(name)
            place = rows if columns is None else (rows[:, None], columns)
            network.weights[name][place] = weight
        for name, bias in self.biases.items():
            network.biases[name][self._rows[name]] = bias
        network.heads.heads[self._task][0][:, self._seen] = self._head


@torch.no_grad()
def reached(network: GrowingNetwork, task: int) -> list[Tensor]:
    """Return each layer's units from which a way of weights leads to a task's head."""
    found = []
    live = (network.heads.heads[task][0] != 0).any(0)
    for name in reversed(network.names):
        weight = network.weights[name]
        units = live.reshape(len(weight), -1).any(1)
        found.append(torch.nonzero(units)[:, 0])
        fed = (weight != 0).reshape(*weight.shape[:2], -1).any(2)
        live = (fed & units[:, None]).any(0)
    return found[::-1]
