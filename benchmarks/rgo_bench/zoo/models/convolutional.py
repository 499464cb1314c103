"""Small convolutional networks: of images, and of sound."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Normalization = Callable[[int], nn.Module]  # of so many channels


class ResNet(nn.Module):
    """Three stages of a residual block each, with the normalisation asked for.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = normalization(16)
        self.blocks = nn.Sequential(
            _ResidualBlock(normalization, 16, 16, 1),
            _ResidualBlock(normalization, 16, 32, 2),
            _ResidualBlock(normalization, 32, 64, 2),
        )
        self.head = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, 3) of images (b, 1, side, side)."""
        features = functional.relu(self.norm(self.stem(images)))
        logits: Tensor = self.head(self.blocks(features).mean((2, 3)))
        return logits


class _ResidualBlock(nn.Module):
    def __init__(
        self, normalization: Normalization, inputs: int, outputs: int, stride: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = normalization(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = normalization(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, normalization(outputs))

    def forward(self, features: Tensor) -> Tensor:
        inner = functional.relu(self.norm1(self.conv1(features)))
        inner = self.norm2(self.conv2(inner))
        return functional.relu(inner + self.shortcut(features))


class MobileNet(nn.Module):
    """A small MobileNetV3: a stem, three inverted residuals, a last convolution.

    Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 16, 3),
            _InvertedResidual(16, 16, stride=1),
            _InvertedResidual(16, 32, stride=2),
            _InvertedResidual(32, 32, stride=1),
            *_convolution(32, 128, 1),
        )
        self.head = nn.Linear(128, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, 3) of images (b, 1, side, side)."""
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


class _InvertedResidual(nn.Module):
    """Wide inside, where convolutions are depthwise, with squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        inner = 3 * inputs
        self.residual = stride == 1 and inputs == outputs
        self.inner = nn.Sequential(
            *_convolution(inputs, inner, 1),
            *_convolution(inner, inner, 3, stride=stride, groups=inner),
            _SqueezeExcitation(inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        inner: Tensor = self.inner(features)
        return features + inner if self.residual else inner


class _SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 4, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        weighted: Tensor = features * self.gate(features)
        return weighted


def _convolution(
    inputs: int, outputs: int, side: int, *, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(
        inputs, outputs, side, stride, side // 2, groups=groups, bias=False
    )
    return convolution, nn.BatchNorm2d(outputs), nn.Hardswish()


class UNet(nn.Module):
    """Two levels down, two up again by transposed convolutions.

    Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down1 = _pair(1, 16)
        self.down2 = _pair(16, 32)
        self.bottom = _pair(32, 64)
        self.open2 = nn.ConvTranspose2d(64, 32, 2, 2)
        self.up2 = _pair(64, 32)
        self.open1 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.up1 = _pair(32, 16)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, side^2, 4) of images (b, 1, side, side)."""
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


class AudioNetwork(nn.Module):
    """Three convolutions along time, the mean, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(12, 32, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(64, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 3)

    def forward(self, signals: Tensor) -> Tensor:
        """Return logits (b, 3) of signals (b, 12, length)."""
        logits: Tensor = self.head(self.convolutions(signals).mean(-1))
        return logits
