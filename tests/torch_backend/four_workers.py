"""Run by `test_workers`: four processes, each with a share of every task's data."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from forked import fork
from integrations.own_loop import TASKS, adam, network, sgd, task_data
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel
from torch_backend.nets import loss_of

from rgo_torch import RGO

RANKS = 4
# A sketch of more rows than any worker sees vectors, or of fewer.
OPTIONS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "update": {"project": "update"},
    "sketch": {"max_features": 8, "sketch_rows": 3},
    "sharded": {"moments": "sharded"},
    "sharded sketch": {"max_features": 8, "sketch_rows": 3, "moments": "sharded"},
}
DDP_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "static_graph": {"static_graph": True},
    "gradient_as_bucket_view": {"gradient_as_bucket_view": True},
    "find_unused_parameters": {"find_unused_parameters": True},
}


def share(task: int, group: Any = None) -> tuple[Tensor, Tensor]:
    x, y = task_data(task)
    rank, count = distributed.get_rank(group), distributed.get_world_size(group)
    return x[rank::count], y[rank::count]


def uneven(task: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a worker's share where the first has most of all: 1, 1, 1 and 13."""
    x, y = task_data(task)
    rank = distributed.get_rank()
    if rank:
        yield x[rank - 1 : rank], y[rank - 1 : rank]
    else:
        yield x[3:9], y[3:9]
        yield x[9:], y[9:]


def trained(
    group: Any = None,
    ddp: dict[str, Any] | None = None,
    *,
    hook: Any = None,
    parts: int = 1,
    seen: Callable[[int], Any] | None = None,
    together: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Run the loop of one worker, unchanged, in each of several."""
    model = network()
    parallel = DistributedDataParallel(model, process_group=group, **(ddp or {}))
    if hook is not None:
        parallel.register_comm_hook(group, hook)
    optimizer = (adam if "project" in options else sgd)(parallel.parameters())
    rgo = RGO(parallel, optimizer, seed=0, process_group=group, **options)
    for task in range(TASKS):
        rgo.begin_task(task)
        x, y = share(task, group)
        for _ in range(3):
            optimizer.zero_grad()
            for part in range(parts):
                own = slice(part, None, parts)
                last = part == parts - 1
                with nullcontext() if last else parallel.no_sync():
                    (loss_of(parallel, x[own], y[own]) / parts).backward()
            optimizer.step()
        batches = seen(task) if seen else [share(task, group)]
        rgo.end_task(batches, together=together)
    return {"state": rgo.state_dict(), "model": model.state_dict()}


def message(ends: Callable[[RGO], object], **options: Any) -> str:
    """Return what a worker says of a task that does not end, and of what it keeps."""
    model: nn.Module = network()
    rgo = RGO(model, sgd(model.parameters()), **options)
    rgo.begin_task(0)
    try:
        ends(rgo)
    except (ValueError, RuntimeError, TypeError) as error:
        kept = rgo.finished, len(rgo.projector.projections)
        return f"{type(error).__name__}: {error} | kept {kept}"
    return "nothing"


def fresh(**options: Any) -> tuple[nn.Module, RGO]:
    model = network()
    return model, RGO(model, sgd(model.parameters()), seed=0, **options)


def save(path: Path, found: dict[str, Any], group: Any) -> None:
    states = {"model": found["model"], "rgo": found["state"]}
    checkpoint.save(states, checkpoint_id=path, process_group=group)


def loaded(
    path: Path, group: Any, strict: bool = True, **options: Any
) -> dict[str, Any]:
    """Return the state of a fresh start into which a checkpoint was loaded."""
    model, rgo = fresh(process_group=group, **options)
    states = {"model": model.state_dict(), "rgo": rgo.state_dict()}
    checkpoint.load(states, checkpoint_id=path, process_group=group)
    rgo.load_state_dict(states["rgo"], strict=strict)
    return rgo.state_dict()


def broken() -> Iterator[Any]:
    """Yield a worker's share, and fail on the third."""
    yield share(0)
    if distributed.get_rank() == 2:
        raise OSError("the disk is gone")


def huge(rgo: RGO) -> Iterator[Any]:
    """Yield samples whose vectors are finite, and their squares are not."""
    nn.init.zeros_(rgo.model.get_parameter("4.weight"))
    x, y = share(0)
    yield 1e200 * x, y


def lost() -> Iterator[Any]:
    """Yield a worker's share; the third dies of it."""
    if distributed.get_rank() == 2:
        os._exit(9)
    yield share(0)


def work(rank: int, folder: Path) -> None:
    pair = distributed.new_group([0, 1])
    found: dict[str, Any] = {name: trained(**o) for name, o in OPTIONS.items()}
    found["uneven"] = trained(seen=uneven)
    found["apart"] = trained(together=False)
    save(folder / "of-4", found["gradient"], None)
    save(folder / "of-4-sharded", found["sharded"], None)
    found["sharded from 1"] = loaded(folder / "of-1", None, moments="sharded")
    other = {"strict": False, "damping": 5.0, "moments": "sharded"}
    found["sharded under its own"] = loaded(folder / "of-1", None, **other)
    if rank < 2:
        found["pair"] = trained(pair)
        found["pair sharded"] = trained(pair, moments="sharded")
        for name, ddp in DDP_OPTIONS.items():
            found[f"pair {name}"] = trained(pair, ddp, project="update")
        found["pair hook"] = trained(pair, hook=default_hooks.allreduce_hook)
        found["pair half"] = trained(pair, hook=default_hooks.fp16_compress_hook)
        found["pair accumulated"] = trained(pair, parts=2)
        found["pair from 4"] = loaded(folder / "of-4", pair)
        path = folder / "of-4-sharded"
        found["pair sharded from 4"] = loaded(path, pair, moments="sharded")
        save(folder / "of-2-sharded", found["pair sharded"], pair)
    else:
        try:
            fresh(process_group=pair)
        except ValueError as error:
            found["outside"] = str(error)
    ends = RGO.end_task
    found["none"] = message(lambda rgo: ends(rgo, [] if rank == 1 else [share(0)]))
    found["broken"] = message(lambda rgo: ends(rgo, broken()))
    both = partial(ends, batches=[share(0)])
    found["other"] = message(both, damping=1.0 + rank)
    layout = {"0.bias": None} if rank else None
    found["layout"] = message(both, layout=layout)
    found["huge"] = message(lambda rgo: ends(rgo, huge(rgo)))
    found["sharded apart"] = message(partial(both, together=False), moments="sharded")
    torch.save(found, folder / f"{rank}.pt")
    # The last: what is lost is not found again.
    (folder / f"{rank}.txt").write_text(message(lambda rgo: ends(rgo, lost())))


if __name__ == "__main__":
    fork(RANKS, work, Path(sys.argv[1]))
