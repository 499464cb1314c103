"""A part of a task's samples, and how many it stands for."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, final

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
)

from rgo_core import enough_samples
from rgo_core._checks import check_choice, check_integer
from rgo_torch.observation.calls import Calls
from rgo_torch.observation.chunks import length, parts
from rgo_torch.observation.joining import are_alike, joined
from rgo_torch.parameters.parameter import ProjectedParameter

# How many samples to observe.
Samples = int | Literal["enough"]


def wanted_samples(
    samples: Samples | None, parameters: Iterable[ProjectedParameter]
) -> int | None:
    """Return the number of samples that is asked for; None for all.

    Enough is counted by what keeps a matrix; where nothing does, all are.

    Raises
    ------
    ValueError
        If it is a text that is not "enough".
    """
    if not isinstance(samples, str):
        return samples
    check_choice("samples", samples, ("enough",))
    widest = [p.features for p in parameters if p.form != "diagonal"]
    return enough_samples(max(widest)) if widest else None


@final
class Sampling:
    """The batches that a curvature pass takes, and the share that it has then seen.

    Parameters
    ----------
    batches : iterable
    samples : int, optional
        The pass ends with the batch that reaches so many; None: with the last.
    whole : int, optional
        How many samples those observed stand for. Where None: if `samples` is given,
        as many as the loader draws in an epoch, or as there are in a list; else those
        observed.

    Attributes
    ----------
    seen : int
        How many samples were observed so far.
    most : int
        Batches that follow may be joined up to so many samples; at 0 they stay as
        they are.

    Raises
    ------
    TypeError
        If `batches` are a data set of samples, names, or nothing to go through.
    ValueError
        If one is not an integer of at least 1, or nothing tells the whole.

    Warns
    -----
    UserWarning
        If `samples` would be the first ones of a loader that does not shuffle.
    """

    def __init__(
        self, batches: Iterable[Any], samples: int | None, whole: int | None
    ) -> None:
        _check_iterable(batches)
        for name, number in (("samples", samples), ("whole", whole)):
            if number is not None:
                check_integer(name, number, 1)
        self._batches = batches
        self._samples = samples
        self._counts_items = samples is not None and whole is None
        if self._counts_items:
            whole = _count_all(batches)
        self._whole = whole
        self.seen = self.most = self._items = 0
        if samples is not None and _is_ordered(batches) and samples < (whole or 0):
            warnings.warn(
                f"samples={samples} are the first of a loader that does not shuffle: "
                "if its data set is in some order, they do not stand for the rest; "
                "make the loader with shuffle=True",
                stacklevel=3,
            )

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield batches to be joined until enough samples were noted as seen."""
        waiting: list[Any] = []
        count = 0  # samples of those that wait
        for batch in self._batches:
            own = length(batch)
            if waiting and not (
                own is not None
                and count + own <= self.most
                and are_alike(waiting[0], batch)
            ):
                yield waiting
                waiting, count = [], 0
            waiting.append(batch)
            count += own or 0
            if self._counts_items:
                self._items += _count_items(batch, self._batches)
            enough = self._samples is not None and self.seen + count >= self._samples
            if own is None or enough or count >= self.most:
                yield waiting
                waiting, count = [], 0
            if self._samples is not None and self.seen >= self._samples:
                return
        if waiting:
            yield waiting

    def run(
        self,
        run: Callable[[Any], tuple[Calls, int]],
        batches: Sequence[Any],
        chunk_size: int | None,
    ) -> Iterator[tuple[Calls, int]]:
        """Yield what a model does with batches together, or apart if it takes no other.

        Parameters
        ----------
        run : callable
            Runs one batch.
        batches : sequence
            Some that were yielded.
        chunk_size : int, optional
            Of a part of one.
        """
        if len(batches) > 1:
            try:
                yield run(joined(batches))
            except (RuntimeError, ValueError, IndexError, TypeError):
                self.most = 0  # what fails apart as well is raised there
            else:
                return
        for batch in batches:
            yield from map(run, parts(batch, chunk_size))

    def note(self, count: int) -> None:
        """Note samples that were observed."""
        self.seen += count

    @property
    def share(self) -> float:
        """The share of the whole that was observed.

        Of the items of a loader or a list where these tell the whole: a batch may have
        more samples than items, as of crops or tokens, or fewer.

        Raises
        ------
        ValueError
            If that is more than the whole.
        """
        if self._whole is None:
            return 1.0
        if self._counts_items:
            return min(self._items / self._whole, 1.0)
        if self.seen > self._whole:
            raise ValueError(
                f"whole must be at least the {self.seen} samples observed, which "
                f"stand for it, got {self._whole}"
            )
        return self.seen / self._whole


def _check_iterable(batches: Any) -> None:
    """Raise TypeError of what gives no batches.

    Entries of a data set may pass for batches, as positions of a sequence for samples.
    Those of an IterableDataset, which is a loop of its own, may be batches.
    """
    kind = type(batches).__name__
    expected = "expected an iterable of batches, such as a DataLoader, got"
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        raise TypeError(
            f"{expected} the data set {kind}, whose entries are samples: pass "
            "DataLoader(dataset, batch_size=...), with batch_size=None if they are "
            "batches"
        )
    if isinstance(batches, Mapping):
        raise TypeError(
            f"{expected} a {kind}: of one batch pass a list, [batch], and of several "
            "loaders itertools.chain of them"
        )
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        remedy = ": call it, and pass what it returns" if callable(batches) else ""
        raise TypeError(f"{expected} a {kind}{remedy}")


def _count_all(batches: Iterable[Any]) -> int:
    if (drawn := _batch_sampler(batches)) is not None:
        try:
            return len(drawn.sampler)  # type: ignore[arg-type]
        except TypeError:  # a sampler or a data set that does not know
            pass
    elif isinstance(batches, list | tuple):
        counts = [length(batch) for batch in batches]
        known = [count for count in counts if count is not None]
        if counts and len(known) == len(counts):
            return sum(known)
    raise ValueError(
        "samples needs whole, the number of samples that those observed stand for: "
        f"it cannot be read from a {type(batches).__name__} of these batches"
    )


def _count_items(batch: Any, batches: Iterable[Any]) -> int:
    drawn = _batch_sampler(batches)
    return (length(batch) or 0) if drawn is None else drawn.batch_size


def _batch_sampler(batches: Iterable[Any]) -> BatchSampler | None:
    """Return what draws a loader's items, where it is PyTorch's own.

    Not the loader's `sampler`: of one that was given its batch sampler that is another.
    """
    drawn = batches.batch_sampler if isinstance(batches, DataLoader) else None
    return drawn if type(drawn) is BatchSampler else None


def _is_ordered(batches: Iterable[Any]) -> bool:
    drawn = _batch_sampler(batches)
    if drawn is None:
        return False
    sampler = drawn.sampler
    # As of a DistributedSampler, whose default it is not.
    return (
        isinstance(sampler, SequentialSampler | range)
        or getattr(sampler, "shuffle", True) is False
    )
