"""The random draws of streams: each a pure function of seed, task and purpose."""

from typing import Literal

import numpy as np

# The numbers are part of what a seed means: add to them, never change them.
_KEYS = {"samples": 0, "transform": 1, "order": 2}


def task_generator(
    seed: int, task: int, purpose: Literal["samples", "transform", "order"]
) -> np.random.Generator:
    """Return the generator of one purpose in one task.

    Parameters
    ----------
    seed : int
        The seed of the stream, not negative.
    task : int
        Which task, from 0.
    purpose : {"samples", "transform", "order"}
        What the draws decide, so that no two purposes share their numbers.

    Returns
    -------
    numpy.random.Generator
        A fresh PCG64 generator; the same arguments give the same draws anywhere.
    """
    key = (_KEYS[purpose], task)
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))
    )
