"""What is left of what a pretrained model could do before it was adapted."""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from rgo_bench.lora.streams import pieces_of
from rgo_bench.zoo.models.hugging_face import need
from rgo_torch.observation.calls import evaluating

PAIRS: Final = 80
LENGTH: Final = 24  # word pieces of a text, its first and last sign counted
BATCH: Final = 16
DOCUMENTED: Final = (
    *("ast", "asyncio", "contextlib", "functools", "logging", "os", "pathlib"),
    *("shutil", "socket", "ssl", "statistics"),
)


@torch.no_grad()
def retrieval(model: nn.Module) -> float:
    """Return how many percent of first sentences find what follows them.

    Of the documentation of functions of the standard library the first sentence, and
    what comes after it: of all that come after, is it the one of most similar features?
    MiniLM was trained for such questions. The model takes its word pieces, has a
    `body`, and is in eval mode inside of this function.
    """
    with evaluating(model):
        first, rest = (_features(model, pieces) for pieces in documentation())
    found = (first @ rest.mT).argmax(1)
    return 100 * float((found == torch.arange(len(found))).float().mean())


@cache
def documentation() -> tuple[Tensor, Tensor]:
    """Return the word pieces of first sentences and of what follows, (80, 24) each."""
    pairs = sorted(set(_pairs()))
    step = len(pairs) // PAIRS
    chosen = pairs[:: max(step, 1)][:PAIRS]
    first, rest = zip(*chosen, strict=True)
    return pieces_of(first, LENGTH), pieces_of(rest, LENGTH)


def _pairs() -> Iterator[tuple[str, str]]:
    for name in DOCUMENTED:
        module = need(name)
        for own, found in inspect.getmembers(module, callable):
            text = inspect.getdoc(found) or ""
            if own.startswith("_"):
                continue
            sentence, _, rest = re.sub(r"\s+", " ", text).partition(". ")
            if len(sentence.split()) >= 5 and len(rest.split()) >= 10:
                yield sentence, rest


def _features(model: nn.Module, pieces: Tensor) -> Tensor:
    """Return sentences' mean features (N, n) over what is no padding, of length 1."""
    found = []
    named = model.named_modules()
    body: Any = next(m for name, m in named if name.rpartition(".")[2] == "body")
    for part in pieces.split(BATCH):
        known = (part != 0).long()
        features = body(part, attention_mask=known).last_hidden_state
        summed = (features * known[..., None]).sum(1)
        found.append(normalize(summed / known.sum(1, keepdim=True), dim=-1))
    return torch.cat(found)
