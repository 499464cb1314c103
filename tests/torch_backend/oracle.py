"""What RGO computes, in dense float64 and with loops."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import rgo_core


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def cotangents(
    logits: np.ndarray, labels: np.ndarray, curvature: str, classes: list[int]
) -> np.ndarray:
    """Return what is backpropagated, (k, b, c), class by class and sample by sample."""
    k = 1 if curvature == "ground-truth" else len(classes)
    found = np.zeros((k, *logits.shape))
    for i, (z, label) in enumerate(zip(logits, labels, strict=True)):
        p = np.zeros(len(z))
        p[classes] = softmax(z[classes])
        if curvature == "ground-truth":
            found[0, i, label] = np.sqrt(p[label] * (1 - p[label]))
            continue
        for column, c in enumerate(classes):
            unit = np.eye(len(z))[c]
            found[column, i] = np.sqrt(p[c]) * (unit - p)
    return found


def sample_gradients(
    model: nn.Module, x: Tensor, towards: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the gradients (k, b, ...) of each sample's logits times a cotangent."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def value(weights: dict[str, Tensor], sample: Tensor, cotangent: Tensor) -> Tensor:
        return (functional_call(model, weights, (sample[None],))[0] * cotangent).sum()

    each_sample = vmap(grad(value), (None, 0, 0))
    found = vmap(each_sample, (None, None, 0))(weights, x, torch.from_numpy(towards))
    return {name: gradient.numpy() for name, gradient in found.items()}


def moments(
    model: nn.Module,
    batches: list[Any],
    *,
    per: str = "sample",
    reduce: str = "mean",
    curvature: str = "ground-truth",
    classes: list[int] | None = None,
    groups: dict[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Return the second moment of every weight and bias of a float64 model."""
    totals: dict[str, np.ndarray] = {}
    for x, y in batches:
        logits = model(x).detach().numpy()
        live = list(range(logits.shape[-1])) if classes is None else classes
        towards = cotangents(logits, y.numpy(), curvature, live)
        for name, gradients in sample_gradients(model, x, towards).items():
            count = (groups or {}).get(name, 1)
            moment = parameter_moment(gradients, per, reduce, count)
            totals[name] = totals.get(name, 0) + moment
    return totals


def parameter_moment(
    gradients: np.ndarray, per: str, reduce: str, groups: int
) -> np.ndarray:
    """Sum g g^T over cotangents and samples of one parameter."""
    if per == "batch":
        gradients = gradients.sum(1, keepdims=True)
    vectors = gradients.reshape(-1, *gradients.shape[2:])
    if vectors.ndim == 2:
        return sum(np.outer(g, g) for g in vectors)
    found = []
    for group in np.split(vectors, groups, axis=1):
        n, total = group[0, 0].size, 0.0
        for matrix in group.reshape(len(vectors), -1, n):
            if reduce == "mean":
                total = total + np.outer(matrix.mean(0), matrix.mean(0))
            else:
                total = total + sum(np.outer(row, row) for row in matrix) / len(matrix)
        found.append(total)
    return found[0] if groups == 1 else np.stack(found)


def projection(moment: np.ndarray, damping: float, *, is_bias: bool) -> np.ndarray:
    raw = np.linalg.inv(np.eye(len(moment)) + moment / damping)
    return raw if is_bias else raw * (len(moment) / np.trace(raw))


class NumpyMLP:
    """An MLP with ReLU whose hidden layers are permuted, backpropagated by hand."""

    def __init__(self, model: nn.Sequential) -> None:
        linear = [module for module in model if isinstance(module, nn.Linear)]
        self.names = [n for n, module in model.named_children() if module in linear]
        self.weights = [m.weight.detach().double().numpy().copy() for m in linear]
        self.biases = [m.bias.detach().double().numpy().copy() for m in linear]
        self.order = [np.arange(len(bias)) for bias in self.biases]
        self.moments: dict[str, np.ndarray] = {}
        self.projections: dict[str, np.ndarray] = {}

    def encode(self, task: int, seed: int) -> None:
        for i, name in enumerate(self.names[:-1]):
            width = len(self.biases[i])
            drawn = rgo_core.task_permutation(width, task=task, name=name, seed=seed)
            self.order[i] = drawn

    def forward(self, x: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return every layer's inputs, and the logits."""
        inputs = []
        for W, b, order in zip(self.weights, self.biases, self.order, strict=True):
            inputs.append(x)
            z = (x @ W.T + b)[:, order]
            x = np.maximum(z, 0)
        return inputs, z

    def backward(
        self, inputs: list[np.ndarray], d: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the gradients of weight and bias, layer by layer."""
        found = []
        for i in reversed(range(len(self.weights))):
            inverse = np.argsort(self.order[i])
            d = d[:, inverse]
            found.append((d.T @ inputs[i], d.sum(0)))
            d = (d @ self.weights[i]) * (inputs[i] > 0)
        return found[::-1]

    def step(self, x: np.ndarray, y: np.ndarray, rate: float) -> None:
        inputs, logits = self.forward(x)
        d = (softmax(logits) - np.eye(logits.shape[1])[y]) / len(x)
        for i, (dW, db) in enumerate(self.backward(inputs, d)):
            P = self.projections.get(f"{self.names[i]}.weight", np.eye(dW.shape[1]))
            Q = self.projections.get(f"{self.names[i]}.bias", np.eye(len(db)))
            self.weights[i] -= rate * dW @ P
            self.biases[i] -= rate * Q @ db

    def consolidate(self, x: np.ndarray, y: np.ndarray, damping: float) -> None:
        """Look at every sample alone; weights by the mean over their outputs."""
        totals = self.moments
        for sample, label in zip(x, y, strict=True):
            inputs, logits = self.forward(sample[None])
            d = cotangents(logits, [label], "ground-truth", list(range(len(logits[0]))))
            for name, (dW, db) in zip(
                self.names, self.backward(inputs, d[0]), strict=True
            ):
                for key, g in ((f"{name}.weight", dW.mean(0)), (f"{name}.bias", db)):
                    totals[key] = totals.get(key, 0) + np.outer(g, g)
        self.projections = {
            key: projection(H, damping, is_bias=key.endswith("bias"))
            for key, H in totals.items()
        }

    def parameters(self) -> dict[str, np.ndarray]:
        found = {}
        for name, W, b in zip(self.names, self.weights, self.biases, strict=True):
            found |= {f"{name}.weight": W, f"{name}.bias": b}
        return found
