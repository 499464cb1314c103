"""The networks as functions of arrays, with the weights that PyTorch drew."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from torch import nn

import rgo_jax
from rgo_core.vectors import Reduce
from rgo_torch import FeatureEncoder, FeatureEncoding

Params = dict[str, dict[str, Array]]


class Context(NamedTuple):
    """What the layers of a network are given beside weights and inputs."""

    task: Array | None = None
    encodings: Mapping[str, rgo_jax.Encoding] = {}
    projections: Mapping[str, Array] = {}  # of dense kernels, by path
    taps: Mapping[str, Array] = {}  # by path
    reduce: Reduce = "uncancelled"  # what the taps take


Layer = Callable[[Params, Array, Context], Array]


class Network(NamedTuple):
    """A network of one path, without its weights."""

    layers: Mapping[str, Layer]
    widths: Mapping[str, int]  # of what is encoded, by the layer's name
    dense: tuple[str, ...]  # paths of the kernels that `rgo_jax.dense` projects
    layout: rgo_jax.Layout
    convolves: bool
    widest: int  # the most inputs of a kernel

    def apply(self, params: Params, x: Array, context: Context) -> Array:
        """Return the logits of images (b, height, width, c) or of rows (b, n)."""
        for name, layer in self.layers.items():
            x = layer(params, x, context)
            if name in context.encodings:
                assert context.task is not None  # what is encoded has a task
                x = rgo_jax.encode(x, context.encodings[name], context.task)
        return x


def convert_network(module: nn.Module) -> Network:
    """Return the function of a Sequential of `LAYERS`; ValueError for another."""
    layers = {}
    for name, layer in module.named_children():
        make = LAYERS.get(type(layer))
        if not isinstance(module, nn.Sequential) or make is None:
            known = ", ".join(kind.__name__ for kind in LAYERS)
            raise ValueError(
                f"backend jax: expected a network that is a Sequential of {known}, got "
                f"{type(layer).__name__} in {type(module).__name__}"
            )
        layers[name] = make(name, layer)
    encoder = FeatureEncoder(module)
    encoder.detach()
    dense = [n for n, m in module.named_children() if isinstance(m, nn.Linear)]
    paths = tuple(f"{name}/kernel" for name in dense)
    params = convert_params(module)
    widest = max(math.prod(p["kernel"].shape[:-1]) for p in params.values())
    convolves = len(dense) < len(params)
    return Network(layers, encoder.widths, paths, _layout(params), convolves, widest)


def _layout(params: Mapping[str, Mapping[str, np.ndarray]]) -> rgo_jax.Layout:
    """Return the layout of kernels that have their outputs last, all of them."""
    overrides = {}
    for name, layer in params.items():
        *inputs, last = range(layer["kernel"].ndim)
        axes = rgo_jax.Axes(inputs=tuple(inputs), outputs=(last,))
        overrides[f"{name}/kernel"] = axes
    return rgo_jax.find_layout(params, overrides)


def convert_params(module: nn.Module) -> dict[str, dict[str, np.ndarray]]:
    """Return the weights, inputs first and outputs last, as Flax stores them."""
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, layer in module.named_children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            order = (2, 3, 1, 0) if isinstance(layer, nn.Conv2d) else (1, 0)
            kernel = layer.weight.detach().permute(order).numpy()
            params[name] = {"kernel": np.ascontiguousarray(kernel)}
            if layer.bias is not None:
                params[name]["bias"] = layer.bias.detach().numpy()
    return params


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return images (N, c, height, width) with channels last, rows as they are."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim == 4 else x


def _linear(name: str, multiply: Callable[..., Array]) -> Layer:
    """Return a layer that multiplies with a kernel, and may add a bias."""
    path = f"{name}/kernel"

    def apply(params: Params, x: Array, context: Context) -> Array:
        given = {"tap": context.taps.get(path), "reduce": context.reduce}
        if path in context.projections:
            given["projection"] = context.projections[path]
        outputs = multiply(x, params[name]["kernel"], **given)
        if "bias" in params[name]:
            outputs = outputs + params[name]["bias"]
        tap = context.taps.get(f"{name}/bias")
        if tap is None:
            return outputs
        positions = (1,) * (outputs.ndim - 2)
        return outputs + tap.reshape(len(tap), *positions, -1)

    return apply


def _dense(name: str, layer: nn.Linear) -> Layer:
    return _linear(name, rgo_jax.dense)


def _conv(name: str, layer: nn.Conv2d) -> Layer:
    if layer.groups != 1 or isinstance(layer.padding, str):
        raise ValueError(
            "backend jax: expected convolutions of one group and numbers for padding, "
            f"got {layer}"
        )
    convolve = partial(
        rgo_jax.conv,
        strides=layer.stride,
        padding=tuple((pad, pad) for pad in layer.padding),
        dilation=layer.dilation,
    )
    return _linear(name, convolve)


def _relu(name: str, layer: nn.ReLU) -> Layer:
    return lambda params, x, context: jax.nn.relu(x)


def _encoding(name: str, layer: FeatureEncoding) -> Layer:
    # Whatever stands here is encoded by its name, see `Network.apply`.
    return lambda params, x, context: x


def _zero_pad(name: str, layer: nn.ZeroPad2d) -> Layer:
    left, right, top, bottom = layer.padding
    widths = ((0, 0), (top, bottom), (left, right), (0, 0))
    return lambda params, x, context: jnp.pad(x, widths)


def _max_pool(name: str, layer: nn.MaxPool2d) -> Layer:
    size, stride = layer.kernel_size, layer.stride
    plain = (layer.padding, layer.dilation) == (0, 1)
    if not plain or not isinstance(size, int) or not isinstance(stride, int):
        raise ValueError(
            f"backend jax: expected max-pooling of squares without padding, got {layer}"
        )

    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lambda params, x, context: lax.reduce_window(
        x, -jnp.inf, lax.max, window, strides, "VALID"
    )


def _flatten(name: str, layer: nn.Flatten) -> Layer:
    def apply(params: Params, x: Array, context: Context) -> Array:
        # Channels first, as in PyTorch: its weights, and permutations, count so.
        first = jnp.moveaxis(x, -1, 1) if x.ndim == 4 else x
        return first.reshape(len(x), -1)

    return apply


LAYERS: Mapping[type[nn.Module], Callable[[str, Any], Layer]] = {
    nn.Linear: _dense,
    nn.Conv2d: _conv,
    nn.ReLU: _relu,
    nn.MaxPool2d: _max_pool,
    nn.Flatten: _flatten,
    nn.ZeroPad2d: _zero_pad,
    FeatureEncoding: _encoding,
}
