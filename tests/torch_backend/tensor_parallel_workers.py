"""Run by `test_tensor_parallel`: processes with a model that they have parts of."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import fork
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.optim import Optimizer

from rgo_torch import RGO

RANKS, TASKS, SAMPLES = 4, 2, 16
WIDTH, HEADS, WIDE, WORDS, LENGTH, CLASSES = 8, 4, 12, 12, 8, 4


class Attention(nn.Module):
    """Counts no heads: as many as there are features for, on a part of them too."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(WIDTH, WIDTH) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        shape = (len(x), LENGTH, -1, WIDTH // HEADS)
        layers = (self.query, self.key, self.value)
        parts = (layer(x).reshape(shape).transpose(1, 2) for layer in layers)
        attended = functional.scaled_dot_product_attention(*parts)
        found: Tensor = self.out(attended.transpose(1, 2).reshape(len(x), LENGTH, -1))
        return found


class Words(nn.Module):
    """An embedding, attention, a feed-forward block with normalisations, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.attention = Attention()
        self.first = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, WIDE), nn.Linear(WIDE, WIDTH)
        self.second = nn.LayerNorm(WIDTH)
        self.tokens = nn.Identity()
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.words(x)
        h = self.first(h + self.attention(h))
        h = self.second(h + self.down(torch.relu(self.up(h))))
        logits: Tensor = self.head(self.tokens(h).mean(1))
        return logits


def model() -> Words:
    """Return the model in float64, so that what differs is not rounding."""
    torch.manual_seed(0)
    return Words().double()


def plan(way: str) -> dict[str, Any]:
    """Return how each layer is cut up."""
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        PrepareModuleInput,
        RowwiseParallel,
        SequenceParallel,
    )

    by_tokens = way == "tokens"
    between = {"use_local_output": False} if way == "tensors" else {}
    joins = {"output_layouts": Shard(1)} if by_tokens else {}
    takes = {"input_layouts": Shard(1)} if by_tokens else {}
    parts = {
        "words": RowwiseParallel(input_layouts=Replicate(), **joins),
        "attention.out": RowwiseParallel(**joins),
        "up": ColwiseParallel(**takes, **between),
        "down": RowwiseParallel(**joins),
        "head": ColwiseParallel(output_layouts=Replicate()),
    }
    for name in ("query", "key", "value"):
        parts[f"attention.{name}"] = ColwiseParallel()
    if by_tokens:
        for name in ("first", "second"):
            parts[name] = SequenceParallel(use_local_output=True)
        for name in ("attention", "tokens"):
            parts[name] = PrepareModuleInput(
                input_layouts=Shard(1),
                desired_input_layouts=Replicate(),
                use_local_output=True,
            )
    return parts


def cut_up(plain: nn.Module, way: str = "features", mesh: Any = None) -> nn.Module:
    """Give each worker its part of a model."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import parallelize_module

    mesh = init_device_mesh("cpu", (RANKS,)) if mesh is None else mesh
    return parallelize_module(plain, mesh, plan(way))


def task_data(task: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(task)
    x = torch.randint(WORDS, (SAMPLES, LENGTH), generator=generator)
    return x, torch.randint(CLASSES, (SAMPLES,), generator=generator)


# As many rows as inputs: nothing is cut off.
SKETCH: dict[str, Any] = {"max_features": 4, "sketch_rows": 64}
OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False),
    # Adam divides what is zero but for rounding by itself: an eps to speak of.
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-4, foreach=False),
}


def learned(
    model: nn.Module,
    optimizer: str,
    *,
    group: Any = None,
    end: Callable[[RGO, Any], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Run the loop of one worker, unchanged, in each of several."""
    steps = OPTIMIZERS[optimizer](model.parameters())
    rgo = RGO(model, steps, seed=0, process_group=group, **options)
    for task in range(TASKS):
        rgo.begin_task(task)
        x, y = task_data(task)
        if group is not None:
            own = slice(distributed.get_rank(group), None, group.size())
            x, y = x[own], y[own]
        for _ in range(3):
            steps.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            if group is not None:
                average(model, group)
            steps.step()
        (end or RGO.end_task)(rgo, [(x, y)])
    weights = {name: whole(part) for name, part in model.state_dict().items()}
    outputs = []
    for task in range(TASKS):
        with rgo.task(task), torch.no_grad():
            outputs.append(whole(model(task_data(task)[0])))
    return {"model": weights, "state": rgo.state_dict(), "outputs": outputs}


def average(model: nn.Module, group: Any) -> None:
    """Average gradients over the workers that saw other samples."""
    for parameter in model.parameters():
        gradient: Any = parameter.grad
        own = gradient.to_local() if hasattr(gradient, "to_local") else gradient
        distributed.all_reduce(own, group=group)
        own.div_(group.size())


def failing(rgo: RGO, batches: Any) -> None:
    """End a task at the second try: a loader breaks first, on one of the workers."""

    def broken() -> Iterator[Any]:
        yield from batches
        if distributed.get_rank() == 2:
            raise OSError("the disk is gone")

    with pytest.raises(RuntimeError, match="worker 2 failed to observe: OSError"):
        rgo.end_task(broken())
    rgo.end_task(batches)


def whole(tensor: Any) -> Tensor:
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found.detach().clone()


def refusals() -> dict[str, str]:
    """Return what is said of what does not go."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def attached(model: nn.Module, **options: Any) -> RGO:
        return RGO(model, OPTIMIZERS["sgd"](model.parameters()), **options)

    late = model()
    of_late = attached(late)
    cut_up(late)
    of_cut = attached(cut_up(model()))
    of_cut.begin_task(0)
    grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("samples", "parts"))
    part = cut_up(model(), mesh=grid["parts"])
    both = cut_up(model(), mesh=grid["parts"])
    fully_shard(both, mesh=grid["samples"])
    tries: dict[str, Callable[[], object]] = {
        "late": lambda: of_late.begin_task(0),
        "merged": lambda: of_cut.merge_for(0),
        "gradient": lambda: attached(cut_up(model()), project="gradient"),
        "no group": lambda: attached(part),
        "both": lambda: attached(both, process_group=grid["samples"].get_group()),
    }
    found = {}
    for name, attempt in tries.items():
        try:
            attempt()
        except (ValueError, RuntimeError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def work(rank: int, folder: Path) -> None:
    from torch.distributed.device_mesh import init_device_mesh

    found: dict[str, Any] = {
        name: learned(cut_up(model()), name) for name in OPTIMIZERS
    }
    for way in ("tensors", "tokens"):
        found[way] = learned(cut_up(model(), way), "adamw")
    found["sketch"] = learned(cut_up(model()), "adamw", **SKETCH)
    found["failing"] = learned(cut_up(model()), "adamw", end=failing)
    grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("samples", "parts"))
    part, group = cut_up(model(), mesh=grid["parts"]), grid["samples"].get_group()
    found["grid"] = learned(part, "adamw", group=group)
    found["refusals"] = refusals()
    torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    fork(RANKS, work, Path(sys.argv[1]))
