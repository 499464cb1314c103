"""An MLP-Mixer."""

from torch import Tensor, nn


class Mixer(nn.Module):
    """Patches, mixed over positions and over channels in turn.

    References
    ----------
    Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021.
    """

    def __init__(
        self,
        *,
        side: int = 8,
        patch: int = 2,
        width: int = 64,
        depth: int = 2,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, patch)
        positions = (side // patch) ** 2
        self.blocks = nn.ModuleList(_Block(positions, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, classes) of images (b, 1, side, side)."""
        features = self.patches(images).flatten(2).mT
        for block in self.blocks:
            features = block(features)
        logits: Tensor = self.head(self.norm(features).mean(1))
        return logits


class _Block(nn.Module):
    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.norm_positions = nn.LayerNorm(width)
        self.mix_positions = _feed_forward(positions, 2 * positions)
        self.norm_channels = nn.LayerNorm(width)
        self.mix_channels = _feed_forward(width, 2 * width)

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = self.mix_positions(self.norm_positions(features).mT).mT
        features = features + mixed
        mixed = self.mix_channels(self.norm_channels(features))
        return features + mixed


def _feed_forward(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
