"""Networks of sequences: of words, of symbols, of rows or patches of a picture."""

import torch
from torch import Tensor, nn

from rgo_bench.zoo.streams.standard_library import CLASSES, SYMBOLS, VOCABULARY, WORDS


class EncoderClassifier(nn.Module):
    """Words and positions, PyTorch's own transformer, the mean, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 64)
        self.positions = nn.Parameter(0.02 * torch.randn(WORDS, 64))
        layer = nn.TransformerEncoderLayer(
            64, nhead=4, dim_feedforward=128, dropout=0.0, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        """Return logits (b, classes) of words (b, length)."""
        features = self.encoder(self.words(words) + self.positions)
        logits: Tensor = self.head(features.mean(1))
        return logits


class GRUClassifier(nn.Module):
    """Words, a GRU in both directions, the mean, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 64)
        self.gru = nn.GRU(64, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        """Return logits (b, classes) of words (b, length)."""
        logits: Tensor = self.head(self.gru(self.words(words))[0].mean(1))
        return logits


class LSTMLanguageModel(nn.Module):
    """Symbols, an LSTM, and a linear layer to the symbol that follows each."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = nn.Embedding(SYMBOLS, 64)
        self.lstm = nn.LSTM(64, 128, batch_first=True)
        self.head = nn.Linear(128, SYMBOLS)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return logits (b, length, vocabulary) of symbols (b, length)."""
        logits: Tensor = self.head(self.lstm(self.symbols(symbols))[0])
        return logits


class RowReader(nn.Module):
    """Pictures read row by row, by a plain RNN; a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(8, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (b, 10) of pictures (b, 1, 8, 8)."""
        logits: Tensor = self.head(self.rnn(pictures.flatten(1, 2))[0][:, -1])
        return logits


class Mixer(nn.Module):
    """Patches, mixed over positions and over channels in turn.

    Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 64, 2, 2)
        self.blocks = nn.Sequential(_MixerBlock(16, 64), _MixerBlock(16, 64))
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (b, 10) of images (b, 1, 8, 8)."""
        features = self.blocks(self.patches(images).flatten(2).mT)
        logits: Tensor = self.head(self.norm(features).mean(1))
        return logits


class _MixerBlock(nn.Module):
    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.norm_positions = nn.LayerNorm(width)
        self.mix_positions = _feed_forward(positions)
        self.norm_channels = nn.LayerNorm(width)
        self.mix_channels = _feed_forward(width)

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = self.mix_positions(self.norm_positions(features).mT).mT
        features = features + mixed
        mixed = self.mix_channels(self.norm_channels(features))
        return features + mixed


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
    )
