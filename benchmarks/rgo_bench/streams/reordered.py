"""A stream whose tasks come in another order."""

import numpy as np
from numpy.typing import NDArray

from rgo_bench.streams.stream import Samples, Stream


class ReorderedStream(Stream):
    """The tasks of a stream, samples and all, in an order as `task_order` draws it."""

    def __init__(self, stream: Stream, order: int) -> None:
        super().__init__(
            stream.name,
            stream.settings,
            seed=stream.seed,
            input_shape=stream.input_shape,
            classes=stream.classes,
        )
        self._stream = stream
        self.places = task_order(stream.tasks, order)

    def _make_train(self, index: int) -> Samples:
        return self._stream.train(self.places[index])

    def _make_test(self, index: int) -> Samples:
        return self._stream.test(self.places[index])

    def _make_mask(self, index: int) -> NDArray[np.bool_] | None:
        return self._stream.mask(self.places[index])


def task_order(tasks: int, order: int) -> list[int]:
    """Return which task comes first, second and so on in an order.

    Only order 0 is the tasks' own, unless there is but one task. Others are drawn, the
    same for all seeds of a stream.

    Examples
    --------
    >>> task_order(4, 0), sorted(task_order(4, 1))
    ([0, 1, 2, 3], [0, 1, 2, 3])
    """
    own = list(range(tasks))
    if not order or tasks == 1:
        return own
    generator = np.random.Generator(np.random.PCG64(order))
    drawn = own
    while drawn == own:
        drawn = [int(place) for place in generator.permutation(tasks)]
    return drawn
