"""What RGO's state takes beside the adapters of large models, without their weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch

import rgo_torch
from rgo_bench.paper.choices import chosen
from rgo_bench.zoo.models.hugging_face import MINILM_SIZE, need, size_of

MAX_FEATURES: Final = 1024
SKETCHES: Final = (None, 128, 64)  # rows; None: whole second moments


@dataclass(frozen=True, kw_only=True)
class Large:
    """A model of transformers, by its published sizes."""

    kind: str
    sizes: Mapping[str, Any]
    shared: Sequence[Sequence[str]]  # layers that take in the same features


LARGE: Final[Mapping[str, Large]] = {
    "llama-3-8b": Large(
        kind="LlamaForCausalLM",
        sizes={
            "vocab_size": 128256,
            "num_key_value_heads": 8,
            **size_of(4096, depth=32, heads=32, inner=14336),
        },
        shared=[("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")],
    ),
    "minilm-l6": Large(
        kind="BertModel",
        sizes={"vocab_size": 30522, **MINILM_SIZE},
        shared=[("query", "key", "value")],
    ),
}


class StateRow(NamedTuple):
    """What one form of the second moments takes."""

    model: str
    rank: int
    sketch_rows: int | None  # None: whole second moments
    layers: int  # with an adapter
    trained: int  # parameters
    adapter_bytes: int  # of what is trained
    state_bytes: int  # of second moments and projections
    shared_bytes: int  # where layers that take in the same features share one


def state_rows(
    models: Iterable[str], *, rank: int = 16, sketches: Iterable[int | None] = SKETCHES
) -> list[StateRow]:
    """Return the state of RGO beside LoRA on all linear layers, for each sketch.

    With a second moment for each adapter, and with one for all that take in the same
    features (``shared_inputs``). Weights of more than 1024 inputs keep a sketch of so
    many rows, or the whole where None. The models are built on PyTorch's meta device,
    of shapes alone.
    """
    rows = []
    for name in chosen("model", list(models), LARGE):
        model = _adapted(LARGE[name], rank)
        trained = [p for p in model.parameters() if p.requires_grad]
        for sketch in sketches:
            rgo = rgo_torch.RGO(
                model,
                torch.optim.AdamW(trained),
                max_features=None if sketch is None else MAX_FEATURES,
                sketch_rows=sketch or 1,
                shared_inputs=LARGE[name].shared,
            )
            parameters = rgo.projector.parameters.values()
            observed = rgo.projector.observed.values()
            rows.append(
                StateRow(
                    model=name,
                    rank=rank,
                    sketch_rows=sketch,
                    layers=sum(".lora_A." in p.name for p in parameters),
                    trained=sum(p.numel() for p in trained),
                    adapter_bytes=sum(p.nbytes for p in trained),
                    state_bytes=sum(p.state_bytes for p in parameters),
                    shared_bytes=sum(p.state_bytes for p in observed),
                )
            )
            rgo.detach()
    return rows


def _adapted(large: Large, rank: int) -> Any:
    kind, peft = getattr(need("transformers"), large.kind), need("peft")
    targets = peft.LoraConfig(r=rank, target_modules="all-linear")
    with torch.device("meta"):
        model = kind(kind.config_class(**large.sizes))
        return peft.get_peft_model(model, targets)
