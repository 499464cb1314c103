from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from rgo_bench.networks import mlp, resnet_18
from rgo_bench.networks.convolutional import CHAINS
from rgo_bench.runs.jit.network import (
    Context,
    channels_last,
    convert_network,
    convert_params,
)
from rgo_jax import make_encoding
from rgo_torch import FeatureEncoder

NETWORKS = {
    "mlp": (mlp, (20,)),
    "mlp of images": (mlp, (1, 4, 5)),
    "lenet-5": (CHAINS["lenet-5"], (3, 12, 12)),
    "alexnet-6": (CHAINS["alexnet-6"], (3, 22, 22)),
}


@pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("task", [0, 2])
def test_the_function_is_the_module_under_its_encoding(
    make: Any, shape: tuple[int, ...], task: int
) -> None:
    module = make(shape, 6, 1)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    network = convert_network(module)
    encodings = {
        name: make_encoding(width, tasks=3, name=name, seed=4)
        for name, width in network.widths.items()
    }
    context = Context(jnp.asarray(task), encodings)
    images = channels_last(x.numpy())
    found = network.apply(convert_params(module), jnp.asarray(images), context)
    encoder = FeatureEncoder(module, seed=4)
    assert set(network.widths) == set(encoder.widths)
    encoder.set_task(task)
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_dense_kernel_is_named() -> None:
    module = CHAINS["lenet-5"]((3, 12, 12), 6, 0)
    assert convert_network(module).dense == ("9/kernel", "12/kernel", "15/kernel")


GROUPED = "convolutions of one group and numbers for padding, got Conv2d"


@pytest.mark.parametrize(
    ("module", "got"),
    [
        (resnet_18((3, 8, 8), 2, 0), r"got .*in ResNet"),
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "got .*Tanh in Sequential"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)), GROUPED),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding="same")), GROUPED),
        (nn.Sequential(nn.MaxPool2d(3, padding=1)), "got .*MaxPool2d"),
        (nn.Sequential(nn.MaxPool2d((2, 3))), "got .*MaxPool2d"),
    ],
)
def test_what_it_cannot_convert_is_refused(module: nn.Module, got: str) -> None:
    with pytest.raises(ValueError, match=rf"backend jax: expected .*({got})"):
        convert_network(module)
