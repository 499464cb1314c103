"""A network of one-dimensional convolutions."""

from torch import Tensor, nn


class AudioNetwork(nn.Module):
    """Three convolutions along time, the mean, a linear head."""

    def __init__(
        self, *, channels: int = 12, width: int = 32, classes: int = 3
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(channels, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, signals: Tensor) -> Tensor:
        """Return logits (b, classes) of signals (b, channels, length)."""
        logits: Tensor = self.head(self.convolutions(signals).mean(-1))
        return logits
