"""Reading of a model's attributes that leaves it as it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def unmoved(model: nn.Module) -> Iterator[None]:
    """Have every module in eval mode, while attributes of a model are read.

    One that is computed when it is read may move buffers or draw numbers in training
    mode: each look at a weight with `spectral_norm` is a step of a power iteration. Not
    by `train`, where classes merge, or empty what they cache.

    Parameters
    ----------
    model : nn.Module
    """
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
