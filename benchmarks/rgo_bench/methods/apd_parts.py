"""What APD takes weights apart into, and how parts of several tasks become one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rgo_torch.modules.trees import leaves_of, map_tensors


class Sparse(NamedTuple):
    """A tensor of which only what is not zero is kept."""

    places: Tensor  # (k,) int32, places in the flattened tensor
    values: Tensor  # (k,)
    shape: list[int]

    @staticmethod
    def of(dense: Tensor) -> "Sparse":
        """Return a tensor as what is not zero in it."""
        flat = dense.detach().flatten()
        places = torch.nonzero(flat)[:, 0]
        return Sparse(places.int(), flat[places].clone(), list(dense.shape))

    def dense(self) -> Tensor:
        """Return the tensor."""
        whole = self.values.new_zeros(math.prod(self.shape))
        return whole.index_copy(0, self.places.long(), self.values).reshape(self.shape)


class Group(NamedTuple):
    """Tasks that agree in places of a layer, and what they share there."""

    tasks: list[int]
    shared: Sparse


class Parts:
    """Shared weights, and each task's masks, biases, sparse and locally shared weights.

    The shared weights, sigma (m, ...) by layer, start as those that are given.
    """

    def __init__(self, shared: Mapping[str, Tensor]) -> None:
        self.shared = {n: nn.Parameter(s.detach().clone()) for n, s in shared.items()}
        self.masks: dict[int, dict[str, Tensor]] = {}  # v (m,) by task and layer
        self.biases: dict[int, dict[str, Tensor]] = {}
        self.own: dict[int, dict[str, Sparse]] = {}  # tau
        self.groups: dict[str, list[Group]] = {n: [] for n in shared}

    def masked(self, task: int, name: str) -> Tensor:
        """Return ``sigma * sigmoid(v)``: shared weights as a task sees them."""
        sigma = self.shared[name]
        return sigma * self.openness(task, name)

    def openness(self, task: int, name: str) -> Tensor:
        """Return ``sigmoid(v)``, of a shape to multiply the weights by."""
        v = self.masks[task][name]
        return torch.sigmoid(v).reshape(-1, *[1] * (self.shared[name].ndim - 1))

    def local(self, task: int, name: str) -> Tensor | float:
        """Return what a task shares with its group; 0 where it has none."""
        found = [g.shared.dense() for g in self.groups[name] if task in g.tasks]
        return found[0] if found else 0.0

    def weights(self, task: int) -> dict[str, Tensor]:
        """Return the weights theta of a task that was learned, from all its parts."""
        unshared = self.unshared(task)
        return {name: w + self.local(task, name) for name, w in unshared.items()}

    def unshared(self, task: int) -> dict[str, Tensor]:
        """Return a learned task's weights less what it shares with its group."""
        return {
            name: self.masked(task, name).detach() + self.own[task][name].dense()
            for name in self.shared
        }

    def cluster(self, count: int, gap: float, seed: int) -> None:
        """Let groups of tasks share the entries of tau that differ by `gap` at most.

        In place of the groups that there are. A task alone in its group shares nothing.
        """
        from sklearn.cluster import KMeans  # which takes a second to import

        for name in self.shared:
            tasks = list(self.own)
            whole = [self.own[t][name].dense() + self.local(t, name) for t in tasks]
            found = KMeans(count, n_init=1, random_state=seed).fit_predict(
                torch.stack(whole).flatten(1).cpu().numpy()
            )
            self.groups[name] = []
            for group in np.unique(found):
                members = np.flatnonzero(found == group)
                own, shared = parted([whole[m] for m in members], gap)
                for member, rest in zip(members, own, strict=True):
                    self.own[tasks[member]][name] = Sparse.of(rest)
                if len(members) > 1:
                    belong = [tasks[member] for member in members]
                    self.groups[name].append(Group(belong, Sparse.of(shared)))

    def entries(self) -> int:
        """Return how many numbers are kept that are not zero."""
        own = [s.values for each in self.own.values() for s in each.values()]
        local = [g.shared.values for each in self.groups.values() for g in each]
        every = leaves_of([self.shared, self.masks, self.biases, own, local])
        return sum(int(torch.count_nonzero(t)) for t in every)

    def state_dict(self) -> dict[str, Any]:
        """Return all parts."""
        state = {
            "shared": self.shared,
            "masks": self.masks,
            "biases": self.biases,
            "own": {
                t: {n: s._asdict() for n, s in each.items()}
                for t, each in self.own.items()
            },
            "groups": {
                n: [{"tasks": g.tasks, "shared": g.shared._asdict()} for g in each]
                for n, each in self.groups.items()
            },
        }
        detached: dict[str, Any] = map_tensors(Tensor.detach, state)
        return detached

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.shared = {n: nn.Parameter(s.clone()) for n, s in state["shared"].items()}
        self.masks, self.biases = dict(state["masks"]), dict(state["biases"])
        self.own = {
            t: {n: Sparse(**s) for n, s in each.items()}
            for t, each in state["own"].items()
        }
        self.groups = {
            n: [Group(list(g["tasks"]), Sparse(**g["shared"])) for g in each]
            for n, each in state["groups"].items()
        }


def parted(whole: Sequence[Tensor], gap: float) -> tuple[list[Tensor], Tensor]:
    """Part tensors into what each has of its own and what they share, elsewhere 0.

    Where all lie within the gap, they share the middle of the least and the largest.
    One alone stays as it is: it shares nothing. Yoon et al. (2020), equation 4 and
    algorithm 1.
    """
    stacked = torch.stack(list(whole))
    least, largest = stacked.amin(0), stacked.amax(0)
    agree = (largest - least <= gap) & (len(whole) > 1)
    return [w * ~agree for w in whole], (least + largest) / 2 * agree
