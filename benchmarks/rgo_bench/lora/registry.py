"""The streams, each with the model that learns it and how it is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from torch import nn

from rgo_bench.lora import next_bytes
from rgo_bench.lora.ability import retrieval
from rgo_bench.lora.model import frozen_minilm, frozen_small_bert
from rgo_bench.lora.streams import SOURCES, text_stream
from rgo_bench.lora.topics import topics
from rgo_bench.zoo.streams import Task


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A stream."""

    model: str  # its name
    build: Callable[[], nn.Module]  # frozen but for a new head, where it has one
    stream: Callable[[int], list[Task]]  # of a seed
    lr: float
    steps: int  # of a task
    batch: int = 16
    targets: tuple[str, ...] = ("query", "value")  # the layers with an adapter
    rank: int = 8  # of the adapter
    head: str | None = "head"  # what is new and trained whole
    # What the pretrained body could do before, in percent.
    ability: Callable[[nn.Module], float] | None = None


_NEXT_BYTES: Final[Mapping[str, Any]] = {
    "model": "llama",
    "build": next_bytes.frozen_language_model,
    "stream": next_bytes.languages,
    "head": None,
    "ability": next_bytes.english,
}

STREAMS: Final[Mapping[str, Entry]] = {
    **{
        name: Entry(
            model="minilm",
            build=frozen_minilm,
            stream=partial(text_stream, name),
            lr=1e-3,
            steps=100,
            ability=retrieval,
        )
        for name in SOURCES
    },
    "topics": Entry(
        model="bert", build=frozen_small_bert, stream=topics, lr=1e-2, steps=40
    ),
    "bytes": Entry(**_NEXT_BYTES, lr=1e-2, steps=200, targets=next_bytes.TARGETS),
    # The same on every linear layer, the head of the language model too.
    **{
        f"bytes-all{end}": Entry(
            **_NEXT_BYTES, lr=3e-3, steps=100, targets=next_bytes.EVERY, rank=rank
        )
        for end, rank in (("", 32), ("-8", 8), ("-64", 64))
    },
}
