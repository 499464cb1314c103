"""The streams by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, TypeAlias, TypeVar, final

from rgo_bench.data import ImageSet, load_digits, load_mnist
from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.permuted import PermutedOptions, permuted_stream
from rgo_bench.streams.rotated import RotatedOptions, rotated_stream
from rgo_bench.streams.stream import Stream

Options = TypeVar("Options", bound=StreamOptions)
_OnImages: TypeAlias = Callable[[str, ImageSet, Options, int], Stream]
_OnData: TypeAlias = Callable[[str, Path | None, Options, int], Stream]


@final
@dataclass(frozen=True)
class StreamEntry(Generic[Options]):
    """What there is to know about a stream before its data are read."""

    summary: str
    defaults: Options
    build: _OnData[Options]  # from name, data folder, options and seed


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
    return entry.build(name, data, replace(entry.defaults, **options), seed)


def _on_mnist(make: _OnImages[Options]) -> _OnData[Options]:
    def build(name: str, data: Path | None, settings: Options, seed: int) -> Stream:
        return make(name, load_mnist(data), settings, seed)

    return build


def _on_digits(make: _OnImages[Options]) -> _OnData[Options]:
    def build(name: str, data: Path | None, settings: Options, seed: int) -> Stream:
        if data is not None:
            raise ValueError(
                f"{name}: expected no data folder, for its images come with "
                f"scikit-learn, got {data}"
            )
        return make(name, load_digits(), settings, seed)

    return build


_PERMUTED_MNIST = PermutedOptions(tasks=20, samples=10_000, batch=10, epochs=1, lr=0.1)
_ROTATED_MNIST = RotatedOptions(tasks=20, samples=10_000, batch=10, epochs=1, lr=0.1)
_PERMUTED_DIGITS = PermutedOptions(tasks=10, samples=1400, batch=10, epochs=5, lr=0.1)
_ROTATED_DIGITS = RotatedOptions(
    tasks=5, samples=1400, batch=10, epochs=5, lr=0.1, angles="drawn", step=36.0
)

STREAMS: Final[Mapping[str, StreamEntry[Any]]] = MappingProxyType(
    {
        "permuted-mnist": StreamEntry(
            "MNIST, the pixels shuffled afresh in every task",
            _PERMUTED_MNIST,
            _on_mnist(permuted_stream),
        ),
        "rotated-mnist": StreamEntry(
            "MNIST, turned further in every task",
            _ROTATED_MNIST,
            _on_mnist(rotated_stream),
        ),
        "permuted-digits": StreamEntry(
            "scikit-learn's 8 x 8 digits, the pixels shuffled afresh in every task",
            _PERMUTED_DIGITS,
            _on_digits(permuted_stream),
        ),
        "rotated-digits": StreamEntry(
            "scikit-learn's 8 x 8 digits, turned further in every task",
            _ROTATED_DIGITS,
            _on_digits(rotated_stream),
        ),
    }
)
