"""ResNet-18 for small images."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.networks.convolutional import check_image
from rgo_bench.networks.initial import draw_all
from rgo_torch import FeatureEncoding

CHANNELS = (64, 128, 256, 512)


class ResNet18(nn.Module):
    """ResNet-18, with batch normalisation after every convolution or without.

    A 7 x 7 convolution of stride 1 to 64 channels and no max-pooling; four stages of
    two basic blocks with 64, 128, 256 and 512 channels, of which the later three halve
    the image; the mean over positions; the head. Convolutions have no bias. Encoded
    after the stem, after the first convolution's ReLU and after the second convolution
    of each block, before the sum, again after each stage, and after the mean. Weights
    are drawn as by `draw_uniform`, the head's bias is 0.
    """

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, seed: int, *, normalize: bool
    ) -> None:
        super().__init__()
        check_image("resnet-18", input_shape, 1)
        self.stem = nn.Conv2d(input_shape[0], 64, 7, padding=3, bias=False)
        self.normalization = _normalization(64, normalize)
        self.encoding = FeatureEncoding(64, axis=-3)
        blocks: list[nn.Module] = []
        width = 64
        for stage, channels in enumerate(CHANNELS):
            for stride in (1 if stage == 0 else 2, 1):
                blocks.append(Block(width, channels, stride, normalize))
                width = channels
            blocks.append(FeatureEncoding(channels, axis=-3))
        self.blocks = nn.Sequential(*blocks)
        self.pooled_encoding = FeatureEncoding(width)
        self.head = nn.Linear(width, classes)
        draw_all(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        h = self.encoding(functional.relu(self.normalization(self.stem(x))))
        pooled = self.pooled_encoding(self.blocks(h).mean((-2, -1)))
        logits: Tensor = self.head(pooled)
        return logits


# As the paper trains it with RGO, and with STL and SGD.
resnet_18 = partial(ResNet18, normalize=False)
resnet_18_bn = partial(ResNet18, normalize=True)


class Block(nn.Module):
    """Two 3 x 3 convolutions, and a shortcut around them."""

    def __init__(self, inputs: int, channels: int, stride: int, normalize: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.normalization1 = _normalization(channels, normalize)
        self.normalization2 = _normalization(channels, normalize)
        self.encoding1 = FeatureEncoding(channels, axis=-3)
        self.encoding2 = FeatureEncoding(channels, axis=-3)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != channels or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False),
                _normalization(channels, normalize),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        h = self.encoding1(functional.relu(self.normalization1(self.conv1(x))))
        h = self.encoding2(self.normalization2(self.conv2(h)))
        return functional.relu(h + self.shortcut(x))


def _normalization(channels: int, normalize: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if normalize else nn.Identity()
