"""TRGP: GPM, but related tasks' weights are reused, scaled within their subspaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods.gpm import GPMOptions, extended
from rgo_bench.methods.method import NetworkMethod, Setting, masked
from rgo_bench.methods.representations import (
    input_rows,
    shared_layers,
    spread,
    strongest,
)
from rgo_bench.methods.weight_projector import freeze_biases
from rgo_bench.streams.options import Positive
from rgo_torch.modules.hooks import remove_all
from rgo_torch.observation.calls import evaluating

RELATED = 2  # tasks that a layer reuses at most


@dataclass(frozen=True, kw_only=True)
class TRGPOptions(GPMOptions):
    """The options of `TRGP`."""

    # The least part of a gradient in a related task's subspace; 0.2 in the authors'
    # program for permuted MNIST, 0.5 in their paper.
    related: Positive = 0.2


# By layer: each related task's scale Q (k, k).
Scales = dict[str, dict[int, Tensor]]


class TRGP(NetworkMethod):
    """Trust Region Gradient Projection (Lin, Yang, Fan and Zhang, ICLR 2022).

    Every task keeps a basis B of each layer's inputs. A new task takes for each layer
    the two earlier tasks in whose subspaces most of its first gradient lies, if that is
    a part `related` of it at least, and learns with
    ``W + W sum_j B_j (Q_j - I) B_j^T``. W moves outside of all earlier subspaces alone,
    as in GPM; the small square matrices Q_j, kept for the task, scale what the related
    tasks know. The third task takes the second alone, as in the authors' programs.

    The relation is seen in the first mini-batch; theirs in 300 samples. Biases stay as
    they start: theirs has none.

    References
    ----------
    Lin, Yang, Fan and Zhang, "TRGP: Trust Region Gradient Projection for Continual
    Learning", ICLR 2022, equations 4 to 9.
    """

    options: TRGPOptions
    kept = (*NetworkMethod.kept, "bases", "spaces", "scales")
    compiles: ClassVar[bool] = False

    def __init__(self, setting: Setting, options: TRGPOptions) -> None:
        super().__init__(setting, options)
        self.layers = shared_layers(self.network, setting, "trgp")
        freeze_biases(self.layers)
        self.bases: dict[str, Tensor] = {}  # M (n, K), of all tasks
        self.spaces: dict[int, dict[str, Tensor]] = {}  # B (n, k) by task and layer
        self.scales: dict[int, Scales] = {}  # by task; none yet of one not begun

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take an SGD step on scales and weights, theirs off all earlier subspaces."""
        if self.current not in self.scales:
            self.scales[self.current] = self._related(x, y)
        own = self.scales[self.current]
        scales = [q for each in own.values() for q in each.values()]
        for scale in scales:
            scale.requires_grad_(True).grad = None
        self.optimizer.zero_grad()
        self.loss(x, y).backward()
        with torch.no_grad():
            for layer in self.layers:
                gradient, M = layer.weight.grad, self.bases.get(layer.name)
                if M is not None and gradient is not None:
                    flat = gradient.flatten(1)
                    off = flat - (flat @ M) @ M.T
                    gradient.copy_(off.reshape(gradient.shape))
            for scale in scales:
                assert scale.grad is not None  # the logits depend on it
                scale -= self.setting.lr * scale.grad
                scale.requires_grad_(False)
        self.optimizer.step()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy with the task's scaled weights."""
        mask = self.setting.masks[self.current]
        return functional.cross_entropy(masked(self._logits(x, self.current), mask), y)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Keep a basis of the task's inputs, and extend that of all tasks' by it."""
        with clock.phase("consolidate"), torch.no_grad():
            chosen = spread(x, self.options.representations)
            forward = partial(self._logits, task=self.current)
            rows = input_rows(self.network, self.layers, chosen, forward=forward)
            space = self.spaces.setdefault(self.current, {})
            for place, layer in enumerate(self.layers):
                columns = rows[layer.name].double().T
                before = self.bases.get(layer.name, columns[:, :0])
                threshold = self.options.needed(first=not place, task=self.current)
                joint = extended(before.double(), columns, threshold)
                own = strongest(joint, columns, threshold)
                space[layer.name] = own.to(layer.weight.dtype)
                self.bases[layer.name] = joint.to(layer.weight.dtype)

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the logits of the task's scaled weights."""
        with evaluating(self.network), torch.no_grad():
            return masked(self._logits(x, task), self.setting.masks[task])

    def _logits(self, x: Tensor, task: int) -> Tensor:
        """Return logits with ``W A``, and ``x A^T`` where W is a linear layer's.

        The second is much less work for the few rows of a mini-batch.
        """
        values, handles = {}, []
        for layer in self.layers:
            scales = self.scales.get(task, {}).get(layer.name)
            if not scales:
                continue
            spaces = [(self.spaces[t][layer.name], Q) for t, Q in scales.items()]
            if isinstance(layer.module, nn.Linear):
                hook = partial(_scale_input, spaces)
                handles.append(layer.module.register_forward_pre_hook(hook))
            else:
                W = layer.weight.flatten(1)
                scaled = W + sum((W @ B) @ _excess(Q) @ B.T for B, Q in spaces)
                values[f"{layer.name}.weight"] = scaled.reshape(layer.weight.shape)
        try:
            logits: Tensor = functional_call(self.network, values, (x,))
        finally:
            remove_all(handles)
        return logits

    def _related(self, x: Tensor, y: Tensor) -> Scales:
        """Return, for each layer, identities as the scales of the tasks to reuse."""
        if not self.spaces:
            return {}
        weights = [layer.weight for layer in self.layers]
        found: Scales = {}
        gradients = torch.autograd.grad(self.loss(x, y), weights)
        for layer, gradient in zip(self.layers, gradients, strict=True):
            flat, name = gradient.flatten(1), layer.name
            parts = {
                task: float((flat @ own[name]).norm() / flat.norm())
                for task, own in self.spaces.items()
            }
            count = 1 if len(parts) <= RELATED else RELATED
            # Of two the later one, whatever the parts.
            order = sorted(parts, key=parts.__getitem__) if count > 1 else sorted(parts)
            found[name] = {
                task: torch.eye(self.spaces[task][name].shape[1], device=flat.device)
                for task in order[-count:]
                if parts[task] > self.options.related
            }
        return found


def _excess(Q: Tensor) -> Tensor:
    return Q - torch.eye(len(Q), device=Q.device)


def _scale_input(
    spaces: Sequence[tuple[Tensor, Tensor]], _: nn.Module, args: tuple[Tensor]
) -> Tensor:
    (x,) = args
    return torch.stack([x, *((x @ B) @ _excess(Q).T @ B.T for B, Q in spaces)]).sum(0)
