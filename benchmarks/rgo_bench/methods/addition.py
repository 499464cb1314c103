"""What a growing network gained, apart from what it had before."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rgo_bench.methods.growing import GrowingNetwork


class Addition:
    """What a network gained since its layers had some widths, to train it alone.

    In each layer's weight, `rows` lead to new units and `across` from new units to
    those of before:

        before | across
        ---------------
             rows

    All are copies, which `write` puts into the network. A step computes no gradient of
    what was there before, nor of what it alone feeds: with few new units it takes a
    fraction of the time of one that computes all of them to drop most.
    """

    def __init__(self, network: GrowingNetwork, widths: Sequence[int]) -> None:
        self._network = network
        self.generator = network.generator
        self.rows: dict[str, nn.Parameter] = {}
        self.across: dict[str, nn.Parameter] = {}
        self.biases: dict[str, nn.Parameter] = {}
        self._before: dict[str, dict[str, Tensor]] = {}
        layers = zip(network.names, widths, network.columns(widths), strict=True)
        for name, units, columns in layers:
            weight = network.weights[name].detach()
            self._before[name] = {"weight": weight[:units, :columns].contiguous()}
            self.rows[name] = nn.Parameter(weight[units:].clone())
            if columns is not None:
                self.across[name] = nn.Parameter(weight[:units, columns:].clone())
            if name in network.biases:
                bias = network.biases[name].detach()
                self._before[name]["bias"] = bias[:units].clone()
                self.biases[name] = nn.Parameter(bias[units:].clone())

    def parameters(self, task: int) -> list[nn.Parameter]:
        """Return all that is new and not empty, and a task's head."""
        parts = (self.rows, self.across, self.biases)
        new = [p for part in parts for p in part.values() if p.numel()]
        return [*new, *self._network.heads.heads[task]]

    def logits(self, x: Tensor, task: int) -> Tensor:
        """Return a task's logits, as the network's `logits` after `write`."""
        old, new = x, None
        for name, module in self._network.body.named_children():
            if name not in self.rows:
                old, new = module(old), None if new is None else module(new)
                continue
            every, before = _joined(old, new), self._before[name]
            old = functional_call(module, before, (old,))
            if new is not None:
                values: dict[str, Tensor] = {"weight": self.across[name]}
                if name in self.biases:
                    values["bias"] = torch.zeros_like(before["bias"])
                old = old + functional_call(module, values, (new,))
            new = None
            if len(self.rows[name]):
                values = {"weight": self.rows[name]}
                if name in self.biases:
                    values["bias"] = self.biases[name]
                new = functional_call(module, values, (every,))
        return self._network.heads.logits(_joined(old, new), task)

    @torch.no_grad()
    def write(self) -> None:
        """Put what is new into the network."""
        for name, rows in self.rows.items():
            units, *_ = self._before[name]["weight"].shape
            weight = self._network.weights[name]
            weight[units:] = rows
            if name in self.across:
                across = self.across[name]
                weight[:units, weight.shape[1] - across.shape[1] :] = across
            if name in self.biases:
                self._network.biases[name][units:] = self.biases[name]


def _joined(old: Tensor, new: Tensor | None) -> Tensor:
    return old if new is None else torch.cat([old, new], 1)
