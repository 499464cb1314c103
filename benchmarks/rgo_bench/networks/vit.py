"""A vision transformer, to time steps with; the paper has none."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.networks.convolutional import check_image
from rgo_bench.networks.initial import draw_all
from rgo_torch import FeatureEncoding

PATCH, WIDTH, HEADS, DEPTH = 4, 192, 3, 6


class VisionTransformer(nn.Module):
    """A small vision transformer of pre-normalised blocks.

    Patches of 4 x 4 as tokens of width 192; six blocks of attention with three heads
    and a hidden layer of 768 with GELU; the mean over tokens; the head. Encoded are the
    hidden layers and the mean. Weights are drawn as by `draw_uniform`, biases and
    places are 0. Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        super().__init__()
        check_image("vit", input_shape, PATCH)
        channels, height, width = input_shape
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH)
        tokens = (height // PATCH) * (width // PATCH)
        self.places = nn.Parameter(torch.zeros(tokens, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.normalization = nn.LayerNorm(WIDTH)
        self.encoding = FeatureEncoding(WIDTH)
        self.head = nn.Linear(WIDTH, classes)
        draw_all(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        mean = self.normalization(self.blocks(tokens)).mean(1)
        logits: Tensor = self.head(self.encoding(mean))
        return logits


class Block(nn.Module):
    """Attention and a hidden layer, each added to what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.normalization1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.normalization2 = nn.LayerNorm(WIDTH)
        self.hidden = nn.Linear(WIDTH, 4 * WIDTH)
        self.encoding = FeatureEncoding(4 * WIDTH)
        self.outputs = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens (b, t, width) after the block."""
        x = x + self.mixed(self._attended(self.normalization1(x)))
        h = self.encoding(functional.gelu(self.hidden(self.normalization2(x))))
        outputs: Tensor = x + self.outputs(h)
        return outputs

    def _attended(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        split = self.qkv(x).reshape(b, t, 3, HEADS, width // HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(query, key, value)
        return heads.transpose(1, 2).reshape(b, t, width)
