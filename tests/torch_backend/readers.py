"""Networks that read words through a layer of one kind or another."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

WORDS, WIDTH, CLASSES, SAMPLES = 11, 4, 3, 6


class Reader(nn.Module):
    """Words, a layer that reads them, and a head."""

    def __init__(self, kind: Callable[..., nn.Module], *args: int, **options: bool):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layer = kind(*args, **options)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.read(self.words(ids)))

    def read(self, words: Tensor) -> Tensor:
        return self.layer(words)[0][:, -1]


class LastState(Reader):
    def read(self, words: Tensor) -> Tensor:
        states = self.layer(words)[1]
        return (states[0] if isinstance(states, tuple) else states).sum(0)


class Cell(Reader):
    def read(self, words: Tensor) -> Tensor:
        states = None
        for word in words.unbind(1):
            states = self.layer(word, states)
        return states[0] if isinstance(states, tuple) else states


class Attending(Reader):
    def read(self, words: Tensor) -> Tensor:
        return self.layer(words, words, value=words)[0].mean(1)


class Weighing(Reader):
    """Looks at the weights of attention, for which there is no formula."""

    def read(self, words: Tensor) -> Tensor:
        attended, weights = self.layer(words, words, words)
        return attended.mean(1) + weights.mean(1)[:, :WIDTH]


class Bag(Reader):
    def __init__(self, kind: Callable[..., nn.Module], *args: int, **options: bool):
        super().__init__(kind, *args, **options)
        del self.words

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layer(ids))


class Pairs(Reader):
    def read(self, words: Tensor) -> Tensor:
        return self.layer(words[:, 0], words[:, 1])


READERS = {
    "rnn": lambda: Reader(nn.RNN, WIDTH, WIDTH, batch_first=True),
    "gru": lambda: Reader(nn.GRU, WIDTH, WIDTH, batch_first=True),
    "lstm": lambda: Reader(nn.LSTM, WIDTH, WIDTH, batch_first=True),
    "lstm, last state": lambda: LastState(nn.LSTM, WIDTH, WIDTH, batch_first=True),
    "both ways": lambda: LastState(
        nn.GRU, WIDTH, WIDTH, batch_first=True, bidirectional=True
    ),
    "gru cell": lambda: Cell(nn.GRUCell, WIDTH, WIDTH),
    "lstm cell": lambda: Cell(nn.LSTMCell, WIDTH, WIDTH),
    "attention": lambda: Attending(nn.MultiheadAttention, WIDTH, 2, batch_first=True),
    "its weights": lambda: Weighing(nn.MultiheadAttention, WIDTH, 2, batch_first=True),
    "bag": lambda: Bag(nn.EmbeddingBag, WORDS, WIDTH),
    "sparse bag": lambda: Bag(nn.EmbeddingBag, WORDS, WIDTH, sparse=True),
    "bilinear": lambda: Pairs(nn.Bilinear, WIDTH, WIDTH, WIDTH),
}


def score(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return model(x).log_softmax(-1).gather(1, y[:, None])[:, 0]


def data() -> tuple[Tensor, Tensor]:
    return torch.randint(WORDS, (SAMPLES, 5)), torch.randint(CLASSES, (SAMPLES,))
