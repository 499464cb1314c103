"""A score tried on two samples when training begins, not when it has ended."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from rgo_torch.observation.calls import undisturbed
from rgo_torch.observation.score import Score


def try_score(
    score: Score,
    model: nn.Module,
    loader: Any,
    prepare: Callable[[Any], Any] = lambda batch: batch,
) -> None:
    """Raise what a score would raise of a loader's batches, before a training is lost.

    Draws no batch, which would change the order of those to come: makes one of the
    first two samples, what `prepare` makes of a batch, and leaves random numbers where
    they were. Tries nothing where the loader has no samples by index.

    Raises
    ------
    TypeError, ValueError
        As the score does.
    """
    try:
        with _same_draws():
            dataset = loader.dataset
            if loader.batch_sampler is None:  # what the dataset has are batches
                batch = loader.collate_fn(dataset[0])
            else:
                samples = [dataset[index] for index in range(min(2, len(dataset)))]
                batch = loader.collate_fn(samples)
            batch = prepare(batch)
    except Exception:  # a stream, a wrapper, samples that come in their own way
        return
    try:
        with (
            _same_draws(),
            undisturbed(model),
            torch.no_grad(),
            warnings.catch_warnings(),
            # One step of another shape is not worth a compilation.
            torch.compiler.set_stance("force_eager"),
        ):
            warnings.simplefilter("ignore")  # to come again, at the end
            score(model, batch)
    except (TypeError, ValueError) as error:
        error.add_note(
            "Tried on two samples before the training, whose end needs it: RGO "
            "observes the task's data then. Pass score= for other batches or losses."
        )
        raise
    except Exception:  # the model's own, which training will raise if it is one
        return


@contextmanager
def _same_draws() -> Iterator[None]:
    """Leave the generators that samples may draw from as they were."""
    plain, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numpy)  # noqa: NPY002
