"""The image sets of the streams: how each is loaded and told from others."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from rgo_bench.data import (
    ImageSet,
    fingerprint_cifar100,
    fingerprint_miniimagenet,
    fingerprint_mnist,
    load_cifar100,
    load_digits,
    load_miniimagenet,
    load_mnist,
)


class Source(NamedTuple):
    """An image set, from a folder or from where it is usually found."""

    load: Callable[[Path | None], ImageSet]
    # Of the images in a folder: part of the name of a run on them.
    fingerprint: Callable[[Path], str]


def _load_bundled(data: Path | None) -> ImageSet:
    return load_digits() if data is None else _refuse(data)


def _refuse(data: Path) -> NoReturn:
    raise ValueError(
        f"data: expected no folder, for the digits come with scikit-learn, got {data}"
    )


MNIST: Final = Source(load_mnist, fingerprint_mnist)
CIFAR100: Final = Source(load_cifar100, fingerprint_cifar100)
MINIIMAGENET: Final = Source(load_miniimagenet, fingerprint_miniimagenet)
DIGITS: Final = Source(_load_bundled, _refuse)
