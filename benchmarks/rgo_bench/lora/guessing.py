"""Guessing of which task a sample is, from what the model makes of it under each."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

import rgo_core
from rgo_bench.lora.methods import Protected
from rgo_bench.zoo.streams import Task, join

SAMPLES: Final = 48  # of a task
BATCH: Final = 16


@torch.no_grad()
def guessed(learner: Protected, tasks: Sequence[Task]) -> dict[str, float]:
    """Return how often the task is guessed, and the accuracy with that guess.

    In percent: "given" is the accuracy with the task known, "WAY tasks" and "WAY
    accuracy" are those of each way to guess, after the last task, on some test samples.

    Every sample is classified under each task's encoding. "confidence" takes the task
    of the largest probability. "moment" takes that under which the head's inputs lie
    most in the directions that its second moment H has seen, ``h^T P h / h^T h``
    least: P is the head's projection.
    """
    some = [task.test.spread(SAMPLES) for task in tasks]
    x, y = join(some)
    truth = torch.cat([torch.full((len(s.x),), i) for i, s in enumerate(some)])
    seen = [_under(learner, index, x) for index in range(len(tasks))]
    logits = torch.stack([logits for logits, _ in seen])  # (t, N, c)
    right = logits.argmax(-1) == y
    guesses = {
        "confidence": logits.softmax(-1).amax(-1).argmax(0),
        "moment": torch.stack([left for _, left in seen]).argmin(0),
    }
    samples = torch.arange(len(x))
    found = {"given": _percent(right[truth, samples])}
    for way, guess in guesses.items():
        found[f"{way} tasks"] = _percent(guess == truth)
        found[f"{way} accuracy"] = _percent(right[guess, samples])
    return found


def _under(learner: Protected, task: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits under a task, and the share of the head's inputs left free."""
    projections = learner.rgo.projector.projections
    heads = (name for name in projections if ".head." in name)
    (name,) = (name for name in heads if name.endswith("default.weight"))
    projection: Any = projections[name]
    head = learner.model.get_submodule(name.removesuffix(".weight"))
    taken: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    learner.model.eval()
    try:
        with learner.task(task):
            logits = torch.cat([learner.model(part) for part in x.split(BATCH)])
    finally:
        handle.remove()
    inputs = torch.cat(taken)
    free = rgo_core.project(projection, inputs, axis=-1)
    left = (free * inputs).sum(-1) / inputs.square().sum(-1)
    return logits, left


def _percent(right: Tensor) -> float:
    return round(100 * float(right.float().mean()), 3)
