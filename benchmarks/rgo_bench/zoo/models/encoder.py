"""A classifier made of PyTorch's own transformer layers."""

import torch
from torch import Tensor, nn


class EncoderClassifier(nn.Module):
    """Words and positions, `nn.TransformerEncoder`, the mean, a linear head."""

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        width: int = 64,
        depth: int = 2,
        classes: int,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, nhead=4, dim_feedforward=2 * width, dropout=0.0, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, words: Tensor) -> Tensor:
        """Return logits (b, classes) of words (b, length)."""
        features = self.encoder(self.words(words) + self.positions)
        logits: Tensor = self.head(features.mean(1))
        return logits
