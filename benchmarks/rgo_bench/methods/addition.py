"""What a growing network gained, apart from what it had before."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rgo_bench.methods.growing import GrowingNetwork

Children = Sequence[tuple[str, nn.Module]]


class Addition:
    """What a network gained since its layers had some widths, to train it for a task.

    In each layer's weight, `rows` lead to new units and `across` from new units to
    those of before:

        before | across
        ---------------
             rows

    All are copies, which `write` puts into the network. What training does not change
    of a forward pass is computed once for each sample (`fixed`), and a step computes no
    gradient of what was there before, nor of what it alone feeds: with few new units it
    takes a fraction of the time of one that computes all of them to drop most.
    """

    def __init__(
        self, network: GrowingNetwork, widths: Sequence[int], task: int
    ) -> None:
        self._network, self._task = network, task
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
        self._below, self._gaining, self._above = self._parts()

    def _parts(self) -> tuple[Children, Children, Children]:
        """Return what nothing new feeds, the first that gains, and what that feeds."""
        children = list(self._network.body.named_children())
        layers = [k for k, (name, _) in enumerate(children) if name in self.rows]
        gaining = [k for k in layers if len(self.rows[children[k][0]])]
        first, *_ = [*gaining, len(children)]
        above, *_ = [*(k for k in layers if k > first), len(children)]
        return children[:first], children[first:above], children[above:]

    def parameters(self) -> list[nn.Parameter]:
        """Return all that is new and not empty, and the task's head."""
        parts = (self.rows, self.across, self.biases)
        new = [p for part in parts for p in part.values() if p.numel()]
        return [*new, *self._network.heads.heads[self._task]]

    @torch.no_grad()
    def fixed(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return what training does not change of a forward pass, a sample a row.

        That is what the first layer to gain units takes in, what the layer above takes
        in of the units of before, and what it makes of that. Where there is no such
        layer it is what comes before it, again.
        """
        parts = [self._fixed(part) for part in torch.split(x, 500)]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _fixed(self, x: Tensor) -> Iterable[Tensor]:
        for children in (self._below, self._gaining, self._above[:1]):
            for name, module in children:
                x = functional_call(module, self._before.get(name, {}), (x,))
            yield x

    def logits(self, first: Tensor, old: Tensor, made: Tensor) -> Tensor:
        """Return the task's logits of what `fixed` found, as the network's of x."""
        new: Tensor | None = first if self._gaining else None
        for name, module in self._gaining:
            values = self._new(name, self.rows[name]) if name in self.rows else {}
            new = functional_call(module, values, (new,))
        for place, (name, module) in enumerate(self._above):
            if name not in self.rows:
                old, new = module(old), None if new is None else module(new)
                continue
            if place:
                made = functional_call(module, self._before[name], (old,))
            old, new = self._outputs(name, module, old, made, new)
        features = old if new is None else torch.cat([old, new], 1)
        return self._network.heads.logits(features, self._task)

    def _outputs(
        self,
        name: str,
        module: nn.Module,
        old: Tensor,
        made: Tensor,
        new: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return a layer's outputs: of the units of before, and of new ones if any."""
        units, columns, *_ = self._before[name]["weight"].shape
        rows, gained = self.rows[name], None
        if len(rows):
            values = self._new(name, rows[:, :columns])
            gained = functional_call(module, values, (old,))
        if new is None:
            return made, gained
        weight = torch.cat([self.across[name], rows[:, columns:]])
        values = {"weight": weight}
        if name in self.biases:
            values["bias"] = weight.new_zeros(len(weight))
        more = functional_call(module, values, (new,))
        made = made + more[:, :units]
        return made, None if gained is None else gained + more[:, units:]

    def _new(self, name: str, rows: Tensor) -> dict[str, Tensor]:
        bias = {"bias": self.biases[name]} if name in self.biases else {}
        return {"weight": rows, **bias}

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
