"""A frozen body with one adapter and one new head."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rgo_bench.lora.streams import CLASSES
from rgo_bench.lora.topics import LENGTH, WORDS
from rgo_bench.zoo.models.hugging_face import minilm, need

RANK, ALPHA = 8, 16


class SentenceClassifier(nn.Module):
    """The mean of a sentence's features, and a linear head on it."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, CLASSES)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the logits (b, c) of word pieces (b, p)."""
        features: Tensor = self.body(pieces).last_hidden_state.mean(1)
        logits: Tensor = self.head(features)
        return logits


def frozen_minilm() -> nn.Module:
    """Return the pretrained MiniLM with a new head, which alone is trained."""
    body: Any = minilm(CLASSES).get_submodule("model.bert")
    return SentenceClassifier(body.requires_grad_(False), body.config.hidden_size)


def frozen_small_bert() -> nn.Module:
    """Return a BERT of two layers, drawn at random, with a new head."""
    transformers = need("transformers")
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    body: Any = transformers.BertModel(config)
    return SentenceClassifier(body.requires_grad_(False), config.hidden_size)


def adapted(
    model: nn.Module, targets: Sequence[str], head: str | None, rank: int = RANK
) -> nn.Module:
    """Return a model with LoRA on some layers, beside a new head."""
    peft = need("peft")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=ALPHA,
        target_modules=list(targets),
        modules_to_save=None if head is None else [head],
    )
    with_adapter: nn.Module = peft.get_peft_model(model, config)
    return with_adapter
