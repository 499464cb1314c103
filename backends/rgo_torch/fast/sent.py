"""What a backward pass has sent to a weight already projected.

One writes, the layer's backward pass, and one takes, the hook where gradients meet at
the weight: there alone can be told what else has reached it. A mark on the tensor would
be lost where autograd adds it to others.
"""

from functools import partial
from typing import ClassVar

from torch import Tensor

from rgo_torch.modules.torch_private import at_the_end, backward_pass


class Sent:
    """The projected gradients on their way to one weight, by backward passes."""

    # The pass that was noted last, and by whom: its end is heard of once for them all.
    noted: ClassVar[tuple[int, list["Sent"]]] = (-1, [])

    def __init__(self) -> None:
        self.parts: list[tuple[int, Tensor]] = []

    def note(self, gradient: Tensor, number: int) -> None:
        """Note what the backward pass of a number sends, the one that is going on.

        Forgotten at its end, if not taken.
        """
        last, by = Sent.noted
        if number != last:
            by = []
            at_the_end(partial(_forget, number, by))
            Sent.noted = number, by
        by.append(self)
        self.parts.append((number, gradient))

    def take_whole(self, gradient: Tensor) -> bool:
        """Take what was sent if a gradient is just that; whether it is."""
        parts = self.parts
        if len(parts) != 1 or parts[0][1] is not gradient:
            return False
        self.parts = []
        return True

    def take(self) -> list[Tensor]:
        """Take what this backward pass has sent."""
        parts, self.parts = self.parts, []
        here = backward_pass()
        return [part for number, part in parts if number == here]

    def forget(self, number: int) -> None:
        """Forget what a backward pass has sent."""
        if self.parts:
            self.parts = [part for part in self.parts if part[0] != number]


def _forget(number: int, by: list[Sent]) -> None:
    for sent in by:
        sent.forget(number)
    by.clear()
