"""The random draws of streams: each a pure function of seed, task and purpose."""

from typing import Literal, TypeAlias

import numpy as np

Purpose: TypeAlias = Literal["samples", "transform", "order", "classes"]

# The numbers are part of what a seed means: add to them, never change them.
_KEYS = {"samples": 0, "transform": 1, "order": 2, "classes": 3}


def task_generator(seed: int, task: int, purpose: Purpose) -> np.random.Generator:
    """Return a fresh generator of one purpose in one task.

    The same arguments give the same draws anywhere, and no two purposes share theirs.
    Task 0 is also that of what is drawn once for all tasks.
    """
    check_seed(seed)
    key = (_KEYS[purpose], task)
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))
    )


def check_seed(seed: int) -> None:
    """Raise unless `seed` may draw a stream."""
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed: expected an integer of at least 0, got {seed!r}")
