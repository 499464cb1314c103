"""The streams by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, final

from rgo_bench.data import ImageSet
from rgo_bench.entries import add_entry
from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.permuted import permuted_stream
from rgo_bench.streams.pixels import minus_mean_image, scaled, standardized_bgr
from rgo_bench.streams.reordered import ReorderedStream
from rgo_bench.streams.rotated import RotatedOptions, rotated_stream
from rgo_bench.streams.sources import CIFAR100, DIGITS, MINIIMAGENET, MNIST, Source
from rgo_bench.streams.split import SplitOptions, split_stream
from rgo_bench.streams.stream import Stream

Options = TypeVar("Options", bound=StreamOptions)


@final
@dataclass(frozen=True)
class StreamEntry(Generic[Options]):
    """What there is to know about a stream before its data are read."""

    summary: str
    defaults: Options
    source: Source
    build: Callable[[str, ImageSet, Options, int], Stream]  # the last is the seed
    network: str = "mlp"  # of the protocol: what a run learns with unless it is told
    # Whether a run measures the accuracy on training samples too: where the paper
    # prints it, for it takes a pass over them and another field of the record.
    measures_training: bool = False
    # By a method's name: its options, or the stream's, that have other defaults here.
    protocol: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def make_stream(
    name: str, *, seed: int, data: Path | None = None, **options: object
) -> Stream:
    """Make a stream of tasks.

    Parameters
    ----------
    name : str
        One of `STREAMS`.
    seed : int
        Decides every random draw of the stream; not negative.
    data : Path, optional
        The folder that holds the data, for a stream whose data are not bundled.
    **options
        Options of the stream in place of its defaults, which
        ``STREAMS[name].defaults`` states.

    Returns
    -------
    Stream
        The stream; its tasks are made when asked for.

    Raises
    ------
    ValueError
        If there is no such stream or option, or an option's value does not do.
    FileNotFoundError
        If the data are not found.

    Examples
    --------
    >>> stream = make_stream("permuted-digits", seed=0, tasks=2, samples=100)
    >>> stream.train(1).x.shape
    (100, 64)
    """
    if name not in STREAMS:
        raise ValueError(f"stream: expected one of {', '.join(STREAMS)}, got {name!r}")
    entry = STREAMS[name]
    known = entry.defaults.as_dict()
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"option of {name}: expected one of {', '.join(known)}, got "
            f"{', '.join(unknown)}"
        )
    settings = replace(entry.defaults, **options)
    stream: Stream = entry.build(name, entry.source.load(data), settings, seed)
    return stream if settings.order is None else ReorderedStream(stream, settings.order)


_TABLE_1 = SplitOptions(tasks=20, samples=2500, batch=10, epochs=8, lr=0.03)


def _protocol(
    *, lr: float, representations: int, threshold: float
) -> dict[str, dict[str, Any]]:
    """Return the methods' options with convolutional networks.

    RGO observes 500 samples a task, as many as the paper's 50 mini-batches. EWC's and
    LOS's options are those of Chaudhry et al. (2020), GPM's of Saha et al. (2021): its
    threshold rises to 1 at the last of 20 tasks.
    """
    return {
        "rgo": {"observed": 500},
        "rgo-2": {"observed": 500},
        "ewc": {"window": 50},
        "gpm": {
            "representations": representations,
            "threshold_first": threshold,
            "threshold": threshold,
            "rise": (1 - threshold) / 19,
        },
        "los": {"lr": lr, "per_class": 1, "manifold": "stiefel"},
    }


_streams: dict[str, StreamEntry[Any]] = {
    "permuted-mnist": StreamEntry(
        "MNIST, the pixels shuffled afresh in every task",
        StreamOptions(tasks=20, samples=10_000, batch=10, epochs=1, lr=0.1),
        MNIST,
        permuted_stream,
    ),
    "rotated-mnist": StreamEntry(
        "MNIST, turned further in every task",
        RotatedOptions(tasks=20, samples=10_000, batch=10, epochs=1, lr=0.1),
        MNIST,
        rotated_stream,
    ),
    "split-cifar100": StreamEntry(
        "CIFAR-100, five classes in every task",
        _TABLE_1,
        CIFAR100,
        partial(split_stream, prepare=minus_mean_image),
        network="resnet-18",
        measures_training=True,
        protocol=_protocol(lr=0.4, representations=125, threshold=0.97),
    ),
    "split-miniimagenet": StreamEntry(
        "miniImageNet, five classes in every task",
        _TABLE_1,
        MINIIMAGENET,
        partial(split_stream, prepare=standardized_bgr),
        network="resnet-18",
        measures_training=True,
        protocol=_protocol(lr=0.2, representations=100, threshold=0.985),
    ),
    "permuted-digits": StreamEntry(
        "scikit-learn's 8 x 8 digits, the pixels shuffled afresh in every task",
        StreamOptions(tasks=10, samples=1400, batch=10, epochs=5, lr=0.1),
        DIGITS,
        permuted_stream,
    ),
    "rotated-digits": StreamEntry(
        "scikit-learn's 8 x 8 digits, turned further in every task",
        RotatedOptions(
            tasks=5,
            samples=1400,
            batch=10,
            epochs=5,
            lr=0.1,
            angles="drawn",
            step=36.0,
        ),
        DIGITS,
        rotated_stream,
    ),
    "split-digits": StreamEntry(
        "scikit-learn's 8 x 8 digits, two classes in every task",
        SplitOptions(
            tasks=5, samples=280, batch=10, epochs=5, lr=0.1, classes_per_task=2
        ),
        DIGITS,
        partial(split_stream, prepare=scaled),
        measures_training=True,
    ),
}
STREAMS: Final[Mapping[str, StreamEntry[Any]]] = MappingProxyType(_streams)


def register_stream(name: str, entry: StreamEntry[Any]) -> None:
    """Add a stream of your own to `STREAMS`.

    Parameters
    ----------
    name : str
        What ``rgo-bench run`` calls it.
    entry : StreamEntry
        Its summary, default options, data, and how it is built.

    Raises
    ------
    ValueError
        If there is a stream of this name.
    """
    add_entry("stream", _streams, name, entry)
