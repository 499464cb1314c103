"""Tiny models of transformers with adapters of PEFT, each a function of its seed."""

from typing import Any

import peft
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

CLASSES, WORDS, LENGTH = 4, 50, 6
Batch = tuple[Tensor, Tensor]


class Logits(nn.Module):
    """A model of transformers that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: Tensor) -> Tensor:
        return self.model(words).logits


def bert(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a BERT of two layers that classifies."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=LENGTH,
        num_labels=CLASSES,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return transformers.BertForSequenceClassification(config).to(dtype)


def gpt2(seed: int = 0) -> nn.Module:
    """Return a GPT-2 of one layer that classifies; its layers are Conv1D."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_positions=LENGTH,
        n_embd=16,
        n_layer=1,
        n_head=2,
        num_labels=CLASSES,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return transformers.GPT2ForSequenceClassification(config).to(torch.float64)


def configuration(**options: Any) -> peft.LoraConfig:
    """Return LoRA of rank 3 on queries and values, and a head that is trained."""
    own = {
        "r": 3,
        "target_modules": ["query", "value"],
        "modules_to_save": ["classifier"],
    }
    return peft.LoraConfig(**own | options)


def adapted(base: nn.Module | None = None, seed: int = 0, **options: Any) -> nn.Module:
    """Return a BERT with an adapter, not wrapped."""
    base = bert(seed) if base is None else base
    torch.manual_seed(seed)
    return peft.get_peft_model(base, configuration(**options))


def batch(seed: int = 0, size: int = 8) -> Batch:
    """Return random words and labels."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(WORDS, (size, LENGTH), generator=draw)
    return words, torch.randint(CLASSES, (size,), generator=draw)


def adamw(model: nn.Module, lr: float = 1e-2) -> torch.optim.AdamW:
    """Return AdamW over what is trained."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)


def take_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, count: int = 3
) -> None:
    """Train for some steps on batches of the seed."""
    model.train()
    for index in range(count):
        words, labels = batch(100 * seed + index)
        optimizer.zero_grad()
        functional.cross_entropy(model(words), labels).backward()
        optimizer.step()


def learn(rgo: Any, optimizer: torch.optim.Optimizer, tasks: range) -> None:
    """Learn tasks in turn."""
    for task in tasks:
        rgo.begin_task(task)
        take_steps(rgo.model, optimizer, task)
        rgo.end_task([batch(100 * task), batch(100 * task + 1)])
