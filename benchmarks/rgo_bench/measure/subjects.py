"""The networks that are measured, and random mini-batches that they take."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from rgo_bench.networks import NETWORKS, NetworkMaker
from rgo_bench.zoo.models.hugging_face import MINILM_SIZE, bert

CLASSES: Final = 100
VOCABULARY: Final = 30522  # word pieces of BERT


def _bert(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    (tokens,) = input_shape
    torch.manual_seed(seed)
    return bert(classes, vocabulary=VOCABULARY, length=tokens, size=MINILM_SIZE)


SUBJECTS: Final[Mapping[str, NetworkMaker]] = MappingProxyType(
    {**NETWORKS, "bert": _bert}
)
# Of one sample, where not that of CIFAR's images: of MNIST's, and tokens.
_SHAPES: Final = {"mlp": (784,), "mlp-glorot": (784,), "bert": (128,)}
_IMAGES: Final = (3, 32, 32)


def usual_shape(network: str) -> tuple[int, ...]:
    """Return the shape of one sample of what a network is trained on."""
    return _SHAPES.get(network, _IMAGES)


def draw_batches(
    network: str,
    input_shape: Sequence[int],
    batch: int,
    count: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random inputs, which are tokens for "bert", and labels."""
    size = (batch, *input_shape)
    for _ in range(count):
        if network == "bert":
            x = torch.randint(VOCABULARY, size, device=device)
        else:
            x = torch.randn(size, device=device)
        yield x, torch.randint(CLASSES, (batch,), device=device)


def make_subject(
    network: str, input_shape: Sequence[int], device: torch.device
) -> nn.Module:
    """Make a network, the same at every call."""
    return SUBJECTS[network](tuple(input_shape), CLASSES, 0).to(device)
