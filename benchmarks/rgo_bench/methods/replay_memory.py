"""Memories to replay from: a ring for every class and task, and a reservoir."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

import rgo_torch
from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.methods.method import Setting

LEVELS = 255  # of an input that is kept as bytes, above the lowest


class Replay(NamedTuple):
    """Samples drawn from a memory, each with the classes of its own task in play."""

    x: Tensor  # (b, *input_shape)
    y: Tensor  # (b,)
    mask: Tensor | None = None  # (b, classes) bool; None: all in play
    logits: Tensor | None = None  # (b, classes), as they were when it was kept


class Memory(ABC):
    """Samples in the rows of tensors; the setting's seed decides what is drawn."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        # On the host, so that every device draws the same samples.
        self._generator = torch.Generator().manual_seed(setting.seed)
        self._rows: dict[str, Tensor] = {}
        self._masks = _all_masks(setting)

    @abstractmethod
    def __len__(self) -> int:
        """Return how many samples there are."""

    @abstractmethod
    def _replay(self, rows: Tensor | slice) -> Replay:
        """Return the samples in some rows."""

    def draw(self, count: int) -> Replay:
        """Draw samples without replacement; all, shuffled, where there are no more."""
        self._check_not_empty()
        drawn = torch.randperm(len(self), generator=self._generator)[:count]
        device = self._rows["y"].device
        if device.type == "cuda":
            drawn = drawn.pin_memory()  # else the host waits for the device
        return self._replay(drawn.to(device, non_blocking=True))

    def _check_not_empty(self) -> None:
        if not len(self):
            raise ValueError("the memory is empty: add a task before drawing from it")


class RingMemory(Memory):
    """Keeps the last `per_class` samples of every class of every task.

    In the order in which the stream draws them; those of Chaudhry et al. (2019, 2020)
    keep the last in the order of training.
    """

    def __init__(self, setting: Setting, per_class: int) -> None:
        super().__init__(setting)
        self._per_class = per_class
        self._sizes: dict[int, int] = {}  # samples by task, in the order of the rows

    def __len__(self) -> int:
        return len(self._rows["y"]) if self._rows else 0

    def add(self, task: int, x: Tensor, y: Tensor) -> None:
        """Keep the last of each class of a task's samples, in the order given."""
        last = [torch.nonzero(y == c)[-self._per_class :, 0] for c in torch.unique(y)]
        rows = torch.cat(last)
        new = {"x": x[rows], "y": y[rows]}
        if self._masks is not None:
            new["mask"] = self._masks[task].expand(len(rows), -1)
        if self._rows:
            old = self._rows
            new = {n: torch.cat([old[n], new[n]]) for n in old if n in new}
        self._rows = new
        self._sizes[task] = len(rows)

    def draw_task(self) -> tuple[int, Replay]:
        """Draw one of the tasks, each as likely, and return it with all its samples."""
        self._check_not_empty()
        place = int(torch.randint(len(self._sizes), (), generator=self._generator))
        task, size = list(self._sizes.items())[place]
        start = sum(list(self._sizes.values())[:place])
        return task, self._replay(slice(start, start + size))

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept, and where the draws stand."""
        return {
            "kept": dict(self._rows) or None,
            "sizes": dict(self._sizes),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        kept = state["kept"] or {}
        # In checkpoints of earlier versions there may be a mask that is None.
        self._rows = {name: rows for name, rows in kept.items() if rows is not None}
        # Not in checkpoints of earlier versions, whose methods draw from all tasks.
        self._sizes = dict(state.get("sizes", {}))
        self._generator.set_state(state["generator"].cpu())

    def _replay(self, rows: Tensor | slice) -> Replay:
        return Replay(**{name: values[rows] for name, values in self._rows.items()})


class Reservoir(Memory):
    """Keeps a uniform sample of a stream by reservoir sampling (Vitter, 1985).

    The i-th sample, counted from 0, is kept surely while there is room, else in place
    of a random one with probability ``size / (i + 1)``. Where `size` is None, there is
    room for as many as fit into the bytes of RGO's state. An input takes one byte an
    entry, ``low + byte * (high - low) / 255`` with its own extremes: what pixels in
    [0, 1] have in files, whole.
    """

    def __init__(self, setting: Setting, size: int | None) -> None:
        super().__init__(setting)
        self.size = size
        self._seen = 0

    def __len__(self) -> int:
        return 0 if self.size is None else min(self._seen, self.size)

    def add(self, x: Tensor, y: Tensor, task: int, logits: Tensor | None) -> None:
        """Offer samples of a mini-batch, of a task, to the reservoir."""
        if not self._rows:
            self._make_room(_coded(x, y, task, logits))
        # Of samples for the same place the last one stays.
        places = {place: row for row, place in enumerate(self._places(len(x)))}
        places.pop(-1, None)
        if not places:
            return
        into, out = (
            torch.tensor(list(each)).to(x.device, non_blocking=True)
            for each in (places, places.values())
        )
        for name, values in _coded(x, y, task, logits).items():
            self._rows[name].index_copy_(0, into, values[out])

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept, and where the draws stand."""
        return {
            "rows": dict(self._rows),
            "size": self.size,
            "seen": self._seen,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self._rows = {name: rows.clone() for name, rows in state["rows"].items()}
        self.size, self._seen = state["size"], state["seen"]
        self._generator.set_state(state["generator"].cpu())

    def _replay(self, rows: Tensor | slice) -> Replay:
        part = {name: values[rows] for name, values in self._rows.items()}
        x = decoded(part["code"], part["low"], part["step"])
        mask = None if self._masks is None else self._masks[part["task"].long()]
        return Replay(x, part["y"].long(), mask, part.get("logits"))

    def _make_room(self, coded: Mapping[str, Tensor]) -> None:
        if self.size is None:
            one = sum(values[0].nbytes for values in coded.values())
            self.size = max(1, rgo_bytes(self.setting) // one)
        self._rows = {
            name: values.new_zeros(self.size, *values.shape[1:])
            for name, values in coded.items()
        }

    def _places(self, count: int) -> list[int]:
        """Return where each of the next samples goes; -1: nowhere."""
        assert self.size is not None  # now there is room
        places = []
        for _ in range(count):
            place = self._seen
            if place >= self.size:
                drawn = torch.randint(self._seen + 1, (), generator=self._generator)
                place = int(drawn) if drawn < self.size else -1
            places.append(place)
            self._seen += 1
        return places


def _all_masks(setting: Setting) -> Tensor | None:
    """Return the classes in play (tasks, classes); None if all are in every task."""
    if all(mask is None for mask in setting.masks):
        return None
    whole = torch.ones(setting.classes, dtype=torch.bool, device=setting.device)
    return torch.stack([whole if mask is None else mask for mask in setting.masks])


def _coded(x: Tensor, y: Tensor, task: int, logits: Tensor | None) -> dict[str, Tensor]:
    """Return what is kept of samples, in few bytes."""
    code, low, step = encoded(x)
    coded = {"code": code, "low": low.float(), "step": step.float(), "y": y.short()}
    coded["task"] = torch.full_like(coded["y"], task)
    return coded if logits is None else coded | {"logits": logits.float()}


def encoded(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs as bytes, and of each its lowest entry and its step."""
    flat = x.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    step = (high - low).clamp(min=torch.finfo(x.dtype).tiny) / LEVELS
    code = ((flat - low[:, None]) / step[:, None]).round().clamp(0, LEVELS)
    return code.to(torch.uint8).reshape(x.shape), low, step


def decoded(code: Tensor, low: Tensor, step: Tensor) -> Tensor:
    """Return the inputs that `encoded` took, off by at most half a step."""
    over = (-1, *[1] * (code.ndim - 1))
    return low.reshape(over) + code * step.reshape(over)


def rgo_bytes(setting: Setting) -> int:
    """Return the bytes of RGO's state for a setting's network, its weights apart."""
    network = copy.deepcopy(setting.make_network(setting.seed)).cpu()
    optimizer = torch.optim.SGD(network.parameters(), lr=setting.lr)
    rgo = rgo_torch.RGO(network, optimizer, seed=setting.seed, damping=1.0)
    return tensor_bytes(rgo.state_dict())
