"""Small models of transformers, words for them, and what their score should be."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

VOCABULARY = 11


class Mine(transformers.LlamaForCausalLM):
    """Another name for the same model."""


class Unknown(nn.Module):
    """A causal model that transformers does not know, with a loss made of its own."""

    def __init__(self, loss: Callable[[Any], Any] = lambda loss: loss) -> None:
        super().__init__()
        self.inner, self.loss = llama(), loss

    def forward(self, **batch: Tensor) -> dict[str, Any]:
        output = self.inner(**batch)
        return {"loss": self.loss(output.loss), "logits": output.logits}


def bert(kind: str) -> nn.Module:
    return made(
        kind,
        transformers.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=3,
        ),
    )


def gpt(kind: str = "GPT2LMHeadModel") -> nn.Module:
    return made(
        kind,
        transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=VOCABULARY),
    )


def made(kind: str | type[nn.Module], config: Any) -> nn.Module:
    torch.manual_seed(0)
    named = getattr(transformers, kind) if isinstance(kind, str) else kind
    model: nn.Module = named(config).double().eval()
    return model


def llama_config() -> Any:
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=3,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )


def llama(kind: str | type[nn.Module] = "LlamaForCausalLM") -> nn.Module:
    return made(kind, llama_config())


def llava() -> nn.Module:
    vision = transformers.CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=4,
        patch_size=2,
    )
    text = llama_config()
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=VOCABULARY - 1
    )
    return made("LlavaForConditionalGeneration", config)


def t5() -> nn.Module:
    return made(
        "T5ForConditionalGeneration",
        transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=8,
            d_kv=4,
            d_ff=16,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
        ),
    )


def bart(kind: str) -> nn.Module:
    return made(
        kind,
        transformers.BartConfig(
            vocab_size=VOCABULARY,
            d_model=8,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            decoder_start_token_id=0,
        ),
    )


def words(size: int = 4, length: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(VOCABULARY, (size, length), generator=generator)


def batch(size: int = 4, length: int = 5) -> dict[str, Tensor]:
    x = words(size, length) % (VOCABULARY - 1)  # the last stands for an image
    return {"input_ids": x, "labels": torch.where(x > 7, -100, x)}


def expected_score(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over labels that count of ``sqrt(p (1 - p)) z``, one by one."""
    scores = []
    for rows, row_labels in zip(logits, labels, strict=True):
        score = torch.zeros((), dtype=torch.float64)
        for z, y in zip(rows, row_labels, strict=True):
            if y != -100:
                p = z.detach().softmax(-1)[y]
                score = score + (p * (1 - p)).sqrt() * z[y]
        scores.append(score)
    return torch.stack(scores)
