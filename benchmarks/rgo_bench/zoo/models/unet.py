"""A small U-Net."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Two levels down, two up again by transposed convolutions.

    References
    ----------
    Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015.
    """

    def __init__(self, *, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.down1 = _pair(1, width)
        self.down2 = _pair(width, 2 * width)
        self.bottom = _pair(2 * width, 4 * width)
        self.open2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up2 = _pair(4 * width, 2 * width)
        self.open1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.up1 = _pair(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, side^2, classes) of images (b, 1, side, side)."""
        high = self.down1(images)
        low = self.down2(functional.max_pool2d(high, 2))
        features = self.bottom(functional.max_pool2d(low, 2))
        features = self.up2(torch.cat([low, self.open2(features)], 1))
        features = self.up1(torch.cat([high, self.open1(features)], 1))
        logits: Tensor = self.head(features).flatten(2).mT
        return logits


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )
