"""A small MobileNetV3: inverted residuals, depthwise, with squeeze and excitation."""

from torch import Tensor, nn


class MobileNet(nn.Module):
    """A stem, three inverted residuals, a last convolution, a linear head.

    References
    ----------
    Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """

    def __init__(self, *, width: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, width, 3),
            _InvertedResidual(width, width, stride=1),
            _InvertedResidual(width, 2 * width, stride=2),
            _InvertedResidual(2 * width, 2 * width, stride=1),
            *_convolution(2 * width, 8 * width, 1),
        )
        self.head = nn.Linear(8 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, classes) of images (b, 1, side, side)."""
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


class _InvertedResidual(nn.Module):
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
