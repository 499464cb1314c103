"""The methods by name."""

from collections.abc import Mapping
from typing import Final

from rgo_bench.lora.methods import Each, Encoded, Frozen, Method, Protected, Unencoded
from rgo_bench.lora.rivals import Elastic, Full, Orthogonal, Replay

_METHODS: Final[Mapping[str, tuple[str, type[Method]]]] = {
    "lora": ("LoRA", Method),
    "full": ("full fine-tuning", Full),
    "frozen": ("frozen features, head only", Frozen),
    "ewc": ("LoRA, EWC", Elastic),
    "o-lora": ("O-LoRA, which grows", Orthogonal),
    "er": ("LoRA, replay of all samples that RGO's bytes hold", Replay),
    "encoded": ("LoRA, encoding only", Encoded),
    "rgo-unencoded": ("LoRA + RGO, no encoding", Unencoded),
    "rgo": ("LoRA + RGO", Protected),
    "each": ("one LoRA a task, which grows", Each),
}
METHODS: Final = {name: label for name, (label, _) in _METHODS.items()}
CLASSES_OF: Final = {name: kind for name, (_, kind) in _METHODS.items()}
