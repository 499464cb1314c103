"""What a backward pass has sent to a weight already projected.

One writes, the layer's backward pass, and one takes, the hook where gradients meet at
the weight: there alone can be told what else has reached it. A mark on the tensor would
be lost where autograd adds it to others.
"""

from torch import Tensor

from rgo_torch.torch_private import at_the_end, backward_pass


class Sent:
    """The projected gradients on their way to one weight, by backward passes."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, Tensor]] = []

    def note(self, gradient: Tensor) -> None:
        """Note what is sent; forgotten at the end of the backward pass, if not taken.

        Only inside of a backward pass.
        """
        if not self.parts:
            at_the_end(self.forget)
        self.parts.append((backward_pass(), gradient))

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

    def forget(self) -> None:
        """Forget what was sent."""
        self.parts = []
