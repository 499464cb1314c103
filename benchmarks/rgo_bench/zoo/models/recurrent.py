"""Recurrent networks: a language model, and classifiers of words and of pictures."""

from torch import Tensor, nn


class LSTMLanguageModel(nn.Module):
    """Symbols, an LSTM, and a linear layer to the symbol that follows each."""

    def __init__(self, *, vocabulary: int, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.symbols = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return logits (b, length, vocabulary) of symbols (b, length)."""
        logits: Tensor = self.head(self.lstm(self.symbols(symbols))[0])
        return logits


class GRUClassifier(nn.Module):
    """Words, a GRU in both directions, the mean, a linear head."""

    def __init__(
        self, *, vocabulary: int, width: int = 64, hidden: int = 64, classes: int
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, words: Tensor) -> Tensor:
        """Return logits (b, classes) of words (b, length)."""
        logits: Tensor = self.head(self.gru(self.words(words))[0].mean(1))
        return logits


class RowReader(nn.Module):
    """Pictures read row by row, by a plain RNN; a linear head."""

    def __init__(self, *, side: int = 8, hidden: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.side = side
        self.rnn = nn.RNN(side, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (b, classes) of pictures (b, 1, side, side)."""
        rows = pictures.reshape(-1, self.side, self.side)
        logits: Tensor = self.head(self.rnn(rows)[0][:, -1])
        return logits
