"""Run by `test_sharded`: four processes, with a model that `fully_shard` cut up."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import fork
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.nn import functional
from torch.optim import Optimizer

from rgo_torch import RGO

RANKS, TASKS, SAMPLES = 4, 2, 16
WIDTH, WORDS, LENGTH, CLASSES = 8, 11, 6, 3
# What is projected, and how the model is cut up.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "gradient": ("gradient", {}),
    "gradient root": ("gradient", {"inside": ()}),
    "gradient kept": ("gradient", {"reshard_after_forward": False}),
    "update": ("update", {}),
    "update hybrid": ("update", {"shape": (2, 2)}),
    "update inputs": ("update", {"shard_placement_fn": lambda p: _along_the_last(p)}),
    "update sketch": ("update", {}),
}
# Of RGO. As many rows as inputs: nothing is cut off, in whatever order it is merged.
SKETCH: dict[str, Any] = {"max_features": 4, "sketch_rows": 64}


class Scaled(nn.Module):
    """A layer of one's own, which is called again for its samples."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.places = nn.Parameter(torch.randn(LENGTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.places


class Words(nn.Module):
    """Has parameters of each kind: full, diagonal, in groups, its own, of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.scaled = Scaled()
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 12, 0.0, batch_first=True)
        self.convolution = nn.Conv1d(WIDTH, WIDTH, 3, groups=2)
        self.cell = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(self.scaled(self.words(x)))
        h, _ = self.cell(torch.relu(self.convolution(h.mT)).mT)
        logits: Tensor = self.head(h.mean(1))
        return logits


INSIDE = (nn.TransformerEncoderLayer, Scaled, nn.Conv1d, nn.GRU, nn.Embedding)


def model() -> Words:
    """Return the model in float64, so that what differs is not rounding."""
    torch.manual_seed(0)
    return Words().double()


def task_data(task: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(task)
    x = torch.randint(WORDS, (SAMPLES, LENGTH), generator=generator)
    return x, torch.randint(CLASSES, (SAMPLES,), generator=generator)


def share(task: int) -> tuple[Tensor, Tensor]:
    x, y = task_data(task)
    if not distributed.is_initialized():
        return x, y
    rank = distributed.get_rank()
    return x[rank::RANKS], y[rank::RANKS]


def sharded(
    plain: nn.Module,
    *,
    inside: tuple[type[nn.Module], ...] = INSIDE,
    shape: tuple[int, ...] = (RANKS,),
    **options: Any,
) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    options["mesh"] = distributed.device_mesh.init_device_mesh(
        "cpu", shape, mesh_dim_names=("replicated", "sharded")[-len(shape) :]
    )
    for module in list(plain.modules()):
        if isinstance(module, inside):
            fully_shard(module, **options)
    fully_shard(plain, **options)
    return plain


def _along_the_last(parameter: nn.Parameter) -> Any:
    from torch.distributed.tensor import Shard

    # PyTorch cuts evenly there.
    even = parameter.ndim > 1 and parameter.shape[-1] % RANKS == 0
    return Shard(parameter.ndim - 1) if even else None


def optimizer_of(model: nn.Module, project: str) -> Optimizer:
    """Return one whose updates are linear in the gradients, up to rounding."""
    if project == "gradient":
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    # Adam divides what is zero but for rounding by itself: an eps to speak of.
    return torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-4)


def learned(
    model: nn.Module,
    project: str,
    end: Callable[[RGO, int], None] | None = None,
    *,
    parts: int = 1,
    **options: Any,
) -> tuple[nn.Module, RGO]:
    """Run the loop of one worker, unchanged, in each of several."""
    optimizer = optimizer_of(model, project)
    rgo = RGO(model, optimizer, seed=0, **options)
    for task in range(TASKS):
        rgo.begin_task(task)
        x, y = share(task)
        for _ in range(2):
            optimizer.zero_grad()
            for part in range(parts):
                if parts > 1:
                    model.set_requires_gradient_sync(part == parts - 1)  # type: ignore[operator]
                own = slice(part, None, parts)
                (functional.cross_entropy(model(x[own]), y[own]) / parts).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
        (end or ended)(rgo, task)
    return model, rgo


def ended(rgo: RGO, task: int) -> None:
    rgo.end_task([share(task)])


def found_in(model: nn.Module, rgo: RGO) -> dict[str, Any]:
    """Return what came of it, in plain tensors."""
    weights = {name: whole(part) for name, part in model.state_dict().items()}
    with rgo.task(1), torch.no_grad():
        outputs = model(task_data(1)[0])
    return {"model": weights, "state": rgo.state_dict(), "outputs": outputs}


def whole(tensor: Any) -> Tensor:
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found.detach().clone()


def broken() -> Iterator[Any]:
    """Yield a worker's share, and fail on the third."""
    yield share(0)
    if distributed.get_rank() == 2:
        raise OSError("the disk is gone")


def failing(rgo: RGO, task: int) -> None:
    """End a task at the third try: a loader breaks, then one worker's forward pass."""
    x, y = share(task)
    words = x + WORDS if distributed.get_rank() == 1 else x
    for batches, message in ((broken(), "disk is gone"), ([(words, y)], "index out")):
        with pytest.raises(RuntimeError, match=message):
            rgo.end_task(batches)
    ended(rgo, task)


def refusals() -> dict[str, str]:
    """Return what is said of what does not go."""
    found = {}
    late = model()
    optimizer = optimizer_of(late, "gradient")
    rgo = RGO(late, optimizer)
    sharded(late)
    tries: dict[str, Callable[[], object]] = {"late": lambda: rgo.begin_task(0)}
    cut = sharded(model())
    rgo_of_cut = RGO(cut, optimizer_of(cut, "gradient"))
    rgo_of_cut.begin_task(0)
    tries["merged"] = lambda: rgo_of_cut.merge_for(0)
    old = model()
    held = optimizer_of(old, "update")
    tries["old optimizer"] = lambda: RGO(sharded(old), held)
    for name, attempt in tries.items():
        try:
            attempt()
        except (ValueError, RuntimeError, TypeError, AssertionError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def work(rank: int, folder: Path) -> None:
    found: dict[str, Any] = {}
    for name, (project, way) in WAYS.items():
        options = SKETCH if name == "update sketch" else {}
        cut = sharded(model(), **way)
        found[name] = found_in(*learned(cut, project, **options))
    found["accumulated"] = found_in(*learned(sharded(model()), "gradient", parts=2))
    found["failing"] = found_in(*learned(sharded(model()), "gradient", failing))
    cut, rgo = learned(sharded(model()), "update", moments="sharded")
    found["sharded moments"] = found_in(cut, rgo)
    states = {"model": get_model_state_dict(cut), "rgo": rgo.state_dict()}
    checkpoint.save(states, checkpoint_id=folder / "of-4")
    found["refusals"] = refusals()
    torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    fork(RANKS, work, Path(sys.argv[1]))
