"""A small language model over bytes, trained on English, and tasks in languages."""

from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn

from rgo_bench.lora.streams import LANGUAGES, PACKAGES, language_text, package_text
from rgo_bench.streams.draws import task_generator
from rgo_bench.zoo.loss import accuracy, loss
from rgo_bench.zoo.models.hugging_face import ENDLESS, drawn, size_of
from rgo_bench.zoo.streams import Task
from rgo_bench.zoo.streams.tasks import divided
from rgo_bench.zoo.turns import take_steps

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

    Sphinx's messages, in UTF-8.

    Parameters
    ----------
    seed : int
        Draws the languages.

    Returns
    -------
    list of Task
        Bytes (N, 48), and for each the one that follows.

    Raises
    ------
    ValueError
        If `seed` is not an integer of at least 0.
    ModuleNotFoundError
        If Sphinx is not installed.
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
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    take_steps(
        optimizer,
        lambda x, y: loss(model(x), y),
        _english().train,
        steps=STEPS,
        batch=BATCH,
        generator=torch.Generator().manual_seed(0),
    )
    return model.state_dict()


@cache
def _english() -> Task:
    """Return windows of the docstrings of packages."""
    return _task("\n".join(map(package_text, PACKAGES)), None)


def _task(text: str, windows: int | None) -> Task:
    """Return stretches of a text that follow each other, and what comes after each."""
    numbers = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
    count = (len(numbers) - 1) // BYTES
    x, y = numbers[: count * BYTES], numbers[1 : count * BYTES + 1]
    whole: list[Tensor] = [part.reshape(count, BYTES) for part in (x, y)]
    return divided(*(part[:windows] for part in whole), every=TEST_EVERY)
