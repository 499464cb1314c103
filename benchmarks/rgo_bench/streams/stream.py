"""What a stream of tasks is."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgo_bench.streams.draws import check_seed
from rgo_bench.streams.options import StreamOptions


class Samples(NamedTuple):
    """Labelled inputs. They may be shared: do not write to them."""

    x: NDArray[np.float32]  # (N, *input_shape)
    y: NDArray[np.int64]  # (N,), from 0 to classes - 1


class Stream(ABC):
    """A sequence of tasks, each a pure function of data, options, seed and index.

    Training samples are made anew at every call, for they are used while one task is
    learned. Test samples are asked for after every later task: whether they are kept
    is up to the stream.

    Parameters
    ----------
    name : str
        The name by which `rgo_bench.streams.make_stream` makes it.
    settings : StreamOptions
        The options chosen.
    seed : int
        Decides every random draw; not negative.
    input_shape : tuple of int
        The shape of one input.
    classes : int
        The number of outputs that the network's head needs.
    """

    def __init__(
        self,
        name: str,
        settings: StreamOptions,
        *,
        seed: int,
        input_shape: tuple[int, ...],
        classes: int,
    ) -> None:
        check_seed(seed)
        self.name = name
        self.settings = settings
        self.seed = seed
        self.input_shape = input_shape
        self.classes = classes

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return self.settings.tasks

    @property
    def samples(self) -> int:
        """The number of training samples of a task."""
        return self.settings.samples

    @property
    def batch(self) -> int:
        """The number of samples of a training step."""
        return self.settings.batch

    @property
    def epochs(self) -> int:
        """The number of passes over a task's training samples."""
        return self.settings.epochs

    @property
    def lr(self) -> float:
        """The learning rate of the protocol; a method may have its own."""
        return self.settings.lr

    def train(self, index: int) -> Samples:
        """Return the training samples of a task, in the order drawn: fresh arrays.

        Raises
        ------
        IndexError
            If there is no such task; they count from 0.
        """
        self._check(index)
        return self._make_train(index)

    def test(self, index: int) -> Samples:
        """Return the test samples of a task: arrays that the stream may keep.

        Raises
        ------
        IndexError
            If there is no such task; they count from 0.
        """
        self._check(index)
        return self._make_test(index)

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """Return which of the head's outputs (classes,) are in play; None: all are.

        Raises
        ------
        IndexError
            If there is no such task; they count from 0.
        """
        self._check(index)
        return self._make_mask(index)

    @abstractmethod
    def _make_train(self, index: int) -> Samples: ...

    @abstractmethod
    def _make_test(self, index: int) -> Samples: ...

    @abstractmethod
    def _make_mask(self, index: int) -> NDArray[np.bool_] | None: ...

    def _check(self, index: int) -> None:
        if not 0 <= index < self.tasks:
            raise IndexError(
                f"{self.name}: expected a task from 0 to {self.tasks - 1}, got {index}"
            )
