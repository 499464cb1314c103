"""A tiny body in MiniLM's place, and a stream of words for it."""

import pytest
import torch
import transformers
from torch import nn

from rgo_bench.lora.model import SentenceClassifier
from rgo_bench.lora.registry import Entry
from rgo_bench.zoo.streams import Samples, Task


def tiny() -> nn.Module:
    """Return a BERT of one layer with a new head, which alone is trained."""
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=6,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return SentenceClassifier(transformers.BertModel(config))


def words(seed: int) -> list[Task]:
    """Return two tasks of telling four sets of words."""
    tasks = []
    for index in range(2):
        draw = torch.Generator().manual_seed(10 * seed + index)
        sets = torch.randperm(40, generator=draw).reshape(4, 10)
        labels = torch.arange(80) % 4
        x = sets[labels[:, None], torch.randint(10, (80, 6), generator=draw)]
        tasks.append(Task(Samples(x[:60], labels[:60]), Samples(x[60:], labels[60:])))
    return tasks


def put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put both in the place of MiniLM and of real text."""
    entry = Entry(model="minilm", build=tiny, stream=words, lr=1e-3, steps=100)
    monkeypatch.setattr("rgo_bench.lora.training.STREAMS", {"modules": entry})
