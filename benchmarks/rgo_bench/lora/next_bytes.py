"""A small language model over bytes, trained on English, and tasks in languages."""

from functools import cache
from typing import Any, Final

import torch
from torch import nn

from rgo_bench.lora.streams import LANGUAGES, PACKAGES, language_text, package_text
from rgo_bench.streams.draws import task_generator
from rgo_bench.zoo.loss import accuracy
from rgo_bench.zoo.methods import Learner
from rgo_bench.zoo.models.hugging_face import ENDLESS, drawn, size_of
from rgo_bench.zoo.streams import Task
from rgo_bench.zoo.streams.tasks import divided
from rgo_bench.zoo.training import Turns

TASKS: Final = 4
BYTES: Final = 48  # of a window
WINDOWS: Final = 900  # of a language at most
TEST_EVERY: Final = 5
TARGETS: Final = ("q_proj", "v_proj")
EVERY: Final = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_proj", "up_proj", "down_proj", "lm_head"),
)
# Of the training on English, which takes minutes.
STEPS, BATCH, RATE = 2000, 32, 2e-3


def languages(seed: int) -> list[Task]:
    """Return four tasks of predicting the next byte, each in another language.

    Sphinx's messages, in UTF-8: bytes (N, 48), and for each the one that follows. The
    seed draws the languages.
    """
    order = task_generator(seed, 0, "classes").permutation(len(LANGUAGES))[:TASKS]
    return [_task(language_text(LANGUAGES[i]), WINDOWS) for i in order]


def frozen_language_model() -> nn.Module:
    """Return a Llama over bytes that was trained on English, frozen."""
    model = _drawn()
    model.load_state_dict(_trained())
    return model.requires_grad_(False)


def english(model: nn.Module) -> float:
    """Return how many percent of the bytes of held-back English are predicted."""
    return accuracy(model, _english().test)


def _drawn() -> nn.Module:
    return drawn(
        "LlamaForCausalLM",
        vocab_size=256,
        max_position_embeddings=BYTES,
        num_key_value_heads=4,
        **size_of(96, depth=3, heads=4, inner=192),
        **ENDLESS,
    )


@cache
def _trained() -> dict[str, Any]:
    """Return the weights after training on English, from a seed of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _drawn()
    learner = Learner(model, torch.optim.AdamW(model.parameters(), lr=RATE))
    Turns(learner, seed=0, batch=BATCH).take_steps(_english().train, STEPS)
    return model.state_dict()


@cache
def _english() -> Task:
    """Return windows of the docstrings of packages."""
    return _task("\n".join(map(package_text, PACKAGES)), None)


def _task(text: str, windows: int | None) -> Task:
    """Return stretches of a text that follow each other, and what comes after each."""
    numbers = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
    count = (len(numbers) - 1) // BYTES
    parts = (numbers[: count * BYTES], numbers[1 : count * BYTES + 1])
    x, y = (part.reshape(count, BYTES)[:windows] for part in parts)
    return divided(x, y, every=TEST_EVERY)
