"""Run by `test_state`: a process that has nothing but what another one saved."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed import checkpoint
from torch_backend.nets import batches, sgd, train

from rgo_torch import RGO, flat_state, nested_state

Saved = dict[str, Any]  # the states of the model, the optimizer and RGO


def network(seed: int) -> nn.Sequential:
    """Return a network whose state has all there is: statistics and a sketch."""
    torch.manual_seed(seed)
    layers = [nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)]
    return nn.Sequential(*layers)


def attached(model: nn.Module) -> tuple[torch.optim.Optimizer, RGO]:
    optimizer = sgd(model, momentum=0.9)
    return optimizer, RGO(model, optimizer, seed=5, max_features=10, sketch_rows=3)


def learn(
    model: nn.Module, optimizer: torch.optim.Optimizer, rgo: RGO, task: int
) -> None:
    rgo.begin_task(task)
    train(model, optimizer, batches(seed=task))
    rgo.end_task(batches(seed=task))


def all_states(
    model: nn.Module, optimizer: torch.optim.Optimizer, rgo: RGO
) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rgo": rgo.state_dict(),
    }


def to_torch(path: Path, states: Saved) -> None:
    torch.save(states, path)


def from_torch(path: Path, fresh: Saved) -> Saved:
    loaded: Saved = torch.load(path, weights_only=True)
    return loaded


def to_distributed(path: Path, states: Saved) -> None:
    checkpoint.save(states, checkpoint_id=path)


def from_distributed(path: Path, fresh: Saved) -> Saved:
    checkpoint.load(fresh, checkpoint_id=path)
    return fresh


def to_safetensors(path: Path, states: Saved) -> None:
    momenta = {
        str(number): entry["momentum_buffer"]
        for number, entry in states["optimizer"]["state"].items()
    }
    path.mkdir()
    save_file(states["model"], path / "model.safetensors")
    save_file(momenta, path / "optimizer.safetensors")
    save_file(flat_state(states["rgo"]), path / "rgo.safetensors")


def from_safetensors(path: Path, fresh: Saved) -> Saved:
    momenta = load_file(path / "optimizer.safetensors")
    state = {int(n): {"momentum_buffer": tensor} for n, tensor in momenta.items()}
    return {
        "model": load_file(path / "model.safetensors"),
        "optimizer": fresh["optimizer"] | {"state": state},
        "rgo": nested_state(load_file(path / "rgo.safetensors")),
    }


ROUTES: dict[
    str, tuple[Callable[[Path, Saved], None], Callable[[Path, Saved], Saved]]
] = {
    "torch": (to_torch, from_torch),
    "distributed": (to_distributed, from_distributed),
    "safetensors": (to_safetensors, from_safetensors),
}


def gone_on(folder: Path, route: str, task: int) -> Saved:
    """Return the states after a task that follows on the saved ones."""
    if route == "pickle":
        model = torch.load(folder / "pickle", weights_only=False)
        optimizer, rgo = attached(model)
        states = torch.load(folder / "torch", weights_only=True)
    else:
        model = network(seed=99)
        optimizer, rgo = attached(model)
        if route == "distributed":  # its template needs momenta to load into
            for p in model.parameters():
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        _, load = ROUTES[route]
        states = load(folder / route, all_states(model, optimizer, rgo))
        model.load_state_dict(states["model"])
    optimizer.load_state_dict(states["optimizer"])
    rgo.load_state_dict(states["rgo"])
    learn(model, optimizer, rgo, task)
    return all_states(model, optimizer, rgo)


def main(folder: Path, task: int) -> None:
    for route in (*ROUTES, "pickle"):
        torch.save(gone_on(folder, route, task), folder / f"{route}-after")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
