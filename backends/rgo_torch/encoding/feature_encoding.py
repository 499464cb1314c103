"""The layer that permutes channels, and how several kinds of outputs pass it."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import rgo_core
from rgo_core._checks import check_integer
from rgo_torch.encoding.permuting import permute_channels
from rgo_torch.mesh.across import Across


class FeatureEncoding(nn.Module):
    """A parameter-free layer that permutes the channels of what passes through.

    Put it where no hook of `FeatureEncoder` can: after a call of torch.flatten, say. A
    `FeatureEncoder` of the model drives it, and then puts none of its own: place one
    after every layer but the head. Until then, and in the first task, it is the
    identity. Its permutation is not part of the state dict.

    Parameters
    ----------
    width : int
        How many channels.
    axis : int
        Where they are.
    name : str, optional
        What the permutations are drawn by, in place of the module's name: encodings of
        one name and width share one permutation a task.

    Raises
    ------
    ValueError
        If `width` is not an integer of at least 1, or what passes through has another
        number of channels.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    section 4.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> rgo_torch.FeatureEncoding(3)(torch.arange(3.0))
    tensor([0., 1., 2.])
    """

    permutation: Tensor
    inverse: Tensor

    def __init__(self, width: int, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__()
        check_integer("width", width, 1)
        self.width, self.axis, self.name = width, axis, name
        self.is_identity = True
        # What permutes where each worker has a part of the channels.
        self.across: Across | None = None
        # What autograd keeps until the backward pass: never written to, as buffers are.
        self._kept = (torch.arange(width), torch.arange(width))
        # Of the tasks met last: one is trained, and others are tested in turn.
        self._drawn: dict[tuple[int, str, int], tuple[Tensor, Tensor]] = {}
        for name in ("permutation", "inverse"):
            self.register_buffer(name, torch.arange(width), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features[..., permutation, ...]``."""
        if features.is_nested:  # TransformerEncoder makes one of what is padded
            parts = [self(part) for part in features.unbind()]
            return torch.nested.as_nested_tensor(parts, layout=features.layout)
        if not self.takes(features):
            raise ValueError(
                f"expected {self.width} channels along axis {self.axis}, "
                f"got shape {tuple(features.shape)}; a layer that gives out another "
                "shape than its class does is named in unencoded=, and the head with it"
            )
        if self.is_identity:
            return features
        permutation, inverse = self._kept_on(features.device)
        if self.across is not None and self._is_part(features):
            own: Tensor = self.across.permuted(features, permutation, self.axis)
            return own
        return permute_channels(features, permutation, inverse, self.axis)

    def takes(self, features: Tensor) -> bool:
        """Tell whether features have as many channels, or a worker's part of them."""
        inside = -features.ndim <= self.axis < features.ndim
        return inside and (
            features.shape[self.axis] == self.width or self._is_part(features)
        )

    def _is_part(self, features: Tensor) -> bool:
        return self.across is not None and self.across.is_part(features, self.axis)

    def columns(self, weight: Tensor) -> Tensor:
        """Return the matrix (m, width) whose products are this one's with permuted."""
        return weight.index_select(1, self._kept_on(weight.device)[1])

    def undone(self, features: Tensor) -> Tensor:
        """Return what `forward` would make these features of."""
        if self.is_identity:
            return features
        permutation, inverse = self._kept_on(features.device)
        return permute_channels(features, inverse, permutation, self.axis)

    def set_permutation(self, task: int, *, name: str, seed: int) -> None:
        """Take the permutation of a task.

        Its own name, where it has one, stands in for `name`.
        """
        name = name if self.name is None else self.name
        self._kept = self._drawn_once(task, name, seed)
        device = self.permutation.device
        # New ones: programs that were exported, and backward passes to come, hold
        # those of another task.
        with torch.inference_mode(False):
            self.permutation, self.inverse = (
                each.to(device, copy=True) for each in self._kept
            )
        self.is_identity = task == 0

    def _drawn_once(self, task: int, name: str, seed: int) -> tuple[Tensor, Tensor]:
        found = self._drawn.pop((task, name, seed), None)
        if found is None:
            drawn = rgo_core.task_permutation(
                self.width, task=task, name=name, seed=seed
            )
            with torch.inference_mode(False):  # autograd keeps no others
                permutation = torch.from_numpy(drawn)
                inverse = torch.from_numpy(rgo_core.inverse_permutation(drawn))
            found = permutation, inverse
            self._drawn = dict(list(self._drawn.items())[-1:])
        self._drawn[task, name, seed] = found
        return found

    def _kept_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        # What a hook holds does not move with the model.
        if torch.compiler.is_compiling():
            return self.permutation.to(device), self.inverse.to(device)
        permutation, inverse = self._kept
        if permutation.device != device:
            with torch.inference_mode(False):
                self._kept = permutation.to(device), inverse.to(device)
        return self._kept

    def extra_repr(self) -> str:
        """Show width and axis."""
        return f"{self.width}, axis={self.axis}"


def encoded(encoding: FeatureEncoding, output: Any) -> Any:
    """Permute what a module returned; of several things the first."""
    if isinstance(output, Tensor):
        return encoding.forward(output)  # it has no hooks
    if isinstance(output, PackedSequence):
        return output._replace(data=encoding(output.data))
    if isinstance(output, tuple | list) and output:
        parts = (encoded(encoding, output[0]), *output[1:])
        # A named tuple is made by its own function.
        return getattr(output, "_make", type(output))(parts)
    if isinstance(output, Mapping) and output:
        found: Any = copy.copy(output)
        first = next(iter(output))
        found[first] = encoded(encoding, output[first])
        return found
    raise TypeError(
        "expected a layer that is encoded to return a tensor, or tensors in a tuple, a "
        f"list or a dict, got a {type(output).__name__}; name it in unencoded="
    )
