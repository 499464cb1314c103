"""No step of a method makes the host wait for the device, as far as the CPU can tell.

The device here is "meta", whose tensors have no values to read.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from bench.small_settings import SPLIT, learn, samples, tiny_network, tiny_setting
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rgo_bench.methods import METHODS
from rgo_bench.methods.method import Setting

META = torch.device("meta")
READERS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}
COPIES = {"aten::_to_copy", "aten::copy_"}
STAYS_ON_THE_HOST = {"rgo", "generator"}  # what a checkpoint puts in its place itself

# They draw a head for the classes in play, of which masks without values tell nothing.
WITH_HEADS = ("pgn", "apd", "den", "rcl")
# Values decide, in a first step or between tasks, how many directions there are.
DECIDE = ("trgp", "adam-nscl")
# With options of the convolutional streams, where they do more in a step.
CASES: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {})
        for name in METHODS
        if name not in ("owm", "los", *DECIDE, *WITH_HEADS)
    ),
    # With "step", `rgo_core.update_projection` looks whether the inputs are finite.
    ("owm", {"observe": "task"}),
    ("los", {}),
    ("los", {"per_class": 1, "manifold": "stiefel"}),
    ("rgo", {"biases": "normalized", "per": "batch"}),
]


class WaitError(Exception):
    pass


class NoWaiting(TorchDispatchMode):
    """Refuses what would read from the device, or copy while the host waits."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors}
        if name in READERS and "meta" in devices:
            raise WaitError(f"{name} reads from the device")
        if name in COPIES:
            given = kwargs.get("device")
            devices |= set() if given is None else {torch.device(given).type}
            if len(devices) > 1 and not kwargs.get("non_blocking"):
                raise WaitError(f"{name} copies between {sorted(devices)}, waiting")
        elif len({t.device.type for t in tensors if t.ndim}) > 1:
            raise WaitError(f"{name} takes tensors of {sorted(devices)}")
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    "wait",
    [
        lambda t: float(t.sum()),
        lambda t: bool(t.any()),
        lambda t: torch.nonzero(t),
        lambda t: t[t > 0],
        lambda t: t.cpu(),
        lambda t: torch.zeros(3).to(t.device),
        lambda t: t.copy_(torch.zeros(3)),
        lambda t: t[torch.tensor([0, 1])],
    ],
)
def test_what_waits_is_noticed(wait: Any) -> None:
    with NoWaiting(), pytest.raises((WaitError, RuntimeError)):
        wait(torch.zeros(3, device=META))


def on_meta(setting: Setting) -> Setting:
    return setting._replace(
        make_network=lambda seed: tiny_network(seed).to(META),
        device=META,
        masks=tuple(m if m is None else m.to(META) for m in setting.masks),
    )


def moved(state: Any) -> Any:
    """What reading a checkpoint on the device makes of a state."""
    if isinstance(state, dict):
        return {
            key: part if key in STAYS_ON_THE_HOST else moved(part)
            for key, part in state.items()
        }
    return state.to(META) if isinstance(state, Tensor) else state


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_no_step_of_a_second_task_waits_for_the_device(
    name: str, options: dict[str, Any], masks: tuple[Tensor | None, ...]
) -> None:
    setting, entry = tiny_setting(masks), METHODS[name]
    chosen = replace(entry.defaults, **options)
    host = entry.build(setting, chosen)
    learn(host, 0)
    method = entry.build(on_meta(setting), chosen)
    method.load_state_dict(moved(host.state_dict()))
    method.begin_task(1)
    x, y = (each[:5].to(META) for each in samples(1, setting))
    method.step(x, y)
    with NoWaiting():
        method.step(x, y)
