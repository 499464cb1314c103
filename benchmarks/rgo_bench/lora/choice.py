"""The methods by name."""

from collections.abc import Mapping
from typing import Final

from rgo_bench.lora.methods import (
    Each,
    Encoded,
    Frozen,
    Method,
    Protected,
    Unencoded,
)
from rgo_bench.lora.rivals import Elastic, Full, Orthogonal, Replay

METHODS: Final[Mapping[str, str]] = {
    "lora": "LoRA",
    "full": "full fine-tuning",
    "frozen": "frozen features, head only",
    "ewc": "LoRA, EWC",
    "o-lora": "O-LoRA, which grows",
    "er": "LoRA, replay of all samples that RGO's bytes hold",
    "encoded": "LoRA, encoding only",
    "rgo-unencoded": "LoRA + RGO, no encoding",
    "rgo": "LoRA + RGO",
    "each": "one LoRA a task, which grows",
}

CLASSES_OF: Final[Mapping[str, type[Method]]] = {
    "lora": Method,
    "full": Full,
    "frozen": Frozen,
    "ewc": Elastic,
    "o-lora": Orthogonal,
    "er": Replay,
    "encoded": Encoded,
    "rgo-unencoded": Unencoded,
    "rgo": Protected,
    "each": Each,
}
