"""The networks that are measured, and random mini-batches that they take."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

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


def usual_shape(network: str) -> tuple[int, ...]:
    """Return the shape of one sample of what a network is trained on."""
    return _SHAPES.get(network, (3, 32, 32))


class Subject(NamedTuple):
    """A network by its name, and the mini-batches that it takes."""

    network: str
    input_shape: tuple[int, ...]  # of one sample
    batch: int
    device: torch.device = torch.device("cpu")

    def make(self) -> nn.Module:
        """Make the network, the same at every call."""
        make = SUBJECTS[self.network]
        return make(self.input_shape, CLASSES, 0).to(self.device)

    def draw(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield random inputs, which are tokens for "bert", and labels."""
        size = (self.batch, *self.input_shape)
        for _ in range(count):
            if self.network == "bert":
                x = torch.randint(VOCABULARY, size, device=self.device)
            else:
                x = torch.randn(size, device=self.device)
            yield x, torch.randint(CLASSES, (self.batch,), device=self.device)
