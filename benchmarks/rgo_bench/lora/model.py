"""A frozen body with one new head."""

from typing import Any

from torch import Tensor, nn

from rgo_bench.lora.streams import CLASSES
from rgo_bench.lora.topics import LENGTH, WORDS
from rgo_bench.zoo.models.hugging_face import NO_DROPOUT, minilm, need, size_of


class SentenceClassifier(nn.Module):
    """The mean of a frozen body's features of a sentence, and a linear head on it."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body.requires_grad_(False)
        self.head = nn.Linear(body.config.hidden_size, CLASSES)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the logits (b, c) of word pieces (b, p)."""
        features: Tensor = self.body(pieces).last_hidden_state.mean(1)
        logits: Tensor = self.head(features)
        return logits


def frozen_minilm() -> nn.Module:
    """Return the pretrained MiniLM with a new head, which alone is trained."""
    return SentenceClassifier(minilm(CLASSES).get_submodule("model.bert"))


def frozen_small_bert() -> nn.Module:
    """Return a BERT of two layers, drawn at random, with a new head."""
    transformers = need("transformers")
    config = transformers.BertConfig(
        vocab_size=WORDS,
        max_position_embeddings=LENGTH,
        **size_of(64, depth=2, heads=4, inner=64),
        **NO_DROPOUT,
    )
    return SentenceClassifier(transformers.BertModel(config))
