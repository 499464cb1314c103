"""Reservoir memory: a fair sample of all that was ever trained on, as bytes."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

import rgo_torch
from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.methods.method import Setting

LEVELS = 255  # of an input that is kept as bytes, above the lowest


class Kept(NamedTuple):
    """Samples drawn, each with its task's place among those learned."""

    x: Tensor  # (b, *input_shape), as decoded
    y: Tensor  # (b,)
    task: Tensor  # (b,)
    logits: Tensor | None  # (b, classes), as they were when it was kept


class Reservoir:
    """Keeps a uniform sample of a stream by reservoir sampling (Vitter, 1985).

    The i-th sample, counted from 0, is kept surely while there is room, else in place
    of a random one with probability ``size / (i + 1)``. An input takes one byte an
    entry, ``low + byte * (high - low) / 255`` with its own extremes: what pixels in
    [0, 1] have in files, whole.

    Parameters
    ----------
    setting : Setting
        With the seed that decides the draws.
    size : int or None
        How many samples; None: as many as fit into the bytes of RGO's state.
    logits : bool
        Whether logits are kept beside the samples.
    """

    def __init__(self, setting: Setting, size: int | None, *, logits: bool) -> None:
        self.setting, self.size, self._with_logits = setting, size, logits
        # On the host, so that every device draws the same samples.
        self._generator = torch.Generator().manual_seed(setting.seed)
        self._seen = 0
        self._rows: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return 0 if self.size is None else min(self._seen, self.size)

    def add(self, x: Tensor, y: Tensor, task: int, logits: Tensor | None) -> None:
        """Offer samples of a mini-batch, of a task, to the reservoir."""
        self._make_room(x)
        assert self.size is not None  # now there is room
        # Of samples for the same place the last one stays.
        places = {place: row for row, place in enumerate(self._places(len(x)))}
        places.pop(-1, None)
        if not places:
            return
        code, low, step = encoded(x)
        new = {"code": code, "low": low, "step": step, "y": y}
        new["task"] = torch.full_like(y, task)
        if logits is not None:
            new["logits"] = logits
        into, out = (
            torch.tensor(list(each)).to(x.device, non_blocking=True)
            for each in (places, places.values())
        )
        for name, values in new.items():
            kept = self._rows[name]
            kept.index_copy_(0, into, values[out].to(kept.dtype))

    def draw(self, count: int) -> Kept:
        """Draw samples without replacement, at most as many as are kept."""
        drawn = torch.randperm(len(self), generator=self._generator)[:count]
        rows = drawn.to(self._rows["y"].device, non_blocking=True)
        part = {name: values[rows] for name, values in self._rows.items()}
        x = decoded(part["code"], part["low"], part["step"])
        y, task = part["y"].long(), part["task"].long()
        return Kept(x, y, task, part.get("logits"))

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

    def _make_room(self, x: Tensor) -> None:
        if self._rows:
            return
        classes = self.setting.classes
        kinds = {
            "code": (torch.uint8, tuple(x.shape[1:])),
            "low": (torch.float32, ()),
            "step": (torch.float32, ()),
            "y": (torch.int16, ()),
            "task": (torch.int16, ()),
        }
        if self._with_logits:
            kinds["logits"] = (torch.float32, (classes,))
        one = sum(torch.empty(s, dtype=d).nbytes for d, s in kinds.values())
        if self.size is None:
            self.size = max(1, rgo_bytes(self.setting) // one)
        self._rows = {
            name: torch.zeros(self.size, *shape, dtype=dtype, device=x.device)
            for name, (dtype, shape) in kinds.items()
        }

    def _places(self, count: int) -> list[int]:
        """Return where each of the next samples goes; -1: nowhere."""
        assert self.size is not None
        places = []
        for _ in range(count):
            place = self._seen
            if place >= self.size:
                drawn = torch.randint(self._seen + 1, (), generator=self._generator)
                place = int(drawn) if drawn < self.size else -1
            places.append(place)
            self._seen += 1
        return places


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
