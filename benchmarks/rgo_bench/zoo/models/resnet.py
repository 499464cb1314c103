"""A small residual network, with the normalisation asked for."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Normalization = Literal["batch", "group"]
GROUPS = 4


class ResNet(nn.Module):
    """Three stages of a residual block each.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(
        self, normalization: Normalization, *, width: int = 16, classes: int = 3
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = normalized(normalization, width)
        self.blocks = nn.Sequential(
            _Block(normalization, width, width, 1),
            _Block(normalization, width, 2 * width, 2),
            _Block(normalization, 2 * width, 4 * width, 2),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, classes) of images (b, 1, side, side)."""
        features = functional.relu(self.norm(self.stem(images)))
        logits: Tensor = self.head(self.blocks(features).mean((2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(
        self, normalization: Normalization, inputs: int, outputs: int, stride: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = normalized(normalization, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = normalized(normalization, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                normalized(normalization, outputs),
            )

    def forward(self, features: Tensor) -> Tensor:
        inner = functional.relu(self.norm1(self.conv1(features)))
        inner = self.norm2(self.conv2(inner))
        return functional.relu(inner + self.shortcut(features))


def normalized(normalization: Normalization, channels: int) -> nn.Module:
    """Return a normalisation of `channels`, by its name."""
    if normalization == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(GROUPS, channels)
