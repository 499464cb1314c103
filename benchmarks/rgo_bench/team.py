"""One run in several processes, each with a share of every mini-batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.futures import Future
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from rgo_bench.compilation import Forward

Value = TypeVar("Value")


class Team:
    """The processes that make one run; one alone where nothing started several.

    A mini-batch is dealt out to them sample by sample. The gradient is the mean over
    the whole of it, as in one process, however unequal the shares: each weighs its mean
    by how much it has.
    """

    def __init__(self) -> None:
        there = distributed.is_available() and distributed.is_initialized()
        self.count = distributed.get_world_size() if there else 1
        self.rank = distributed.get_rank() if there else 0
        self._weight = 1.0

    @property
    def leads(self) -> bool:
        """Whether it is this process that writes and tells."""
        return self.rank == 0

    def agreed(self, value: Value) -> Value:
        """Return the value that the first process has."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def share(self, tensor: Tensor) -> Tensor:
        """Return every so-manieth sample, from this process's own on."""
        return tensor if self.count == 1 else tensor[self.rank :: self.count]

    def deal(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return this process's share of a mini-batch, which the next step takes."""
        if self.count == 1:
            return x, y
        if len(x) < self.count:
            raise ValueError(
                f"--nproc-per-node: expected at most {len(x)} processes, as many as a "
                f"mini-batch has samples, got {self.count}"
            )
        mine = self.share(x), self.share(y)
        self._weight = self.count * len(mine[0]) / len(x)
        return mine

    def forward(self, network: nn.Module) -> Forward:
        """Return what training steps call: the network, its gradients averaged."""
        if any(isinstance(module, _BatchNorm) for module in network.modules()):
            raise ValueError(
                "several processes expect a network without batch normalisation, whose "
                "statistics are of the whole mini-batch; use --jobs for several seeds"
            )
        parallel = DistributedDataParallel(network)
        parallel.register_comm_hook(None, lambda _, bucket: self._mean(bucket))
        return parallel

    def _mean(self, bucket: Any) -> Future[Tensor]:
        """Average a bucket of gradients, each weighed by its share."""
        gradients = bucket.buffer().mul_(self._weight / self.count)
        future = distributed.all_reduce(gradients, async_op=True).get_future()
        averaged: Future[Tensor] = future.then(lambda summed: summed.value()[0])
        return averaged


@contextmanager
def joined() -> Iterator[Team]:
    """Join the processes that torchrun started, if it did, for as long as the context.

    NCCL serves what is on a GPU, the one of the process's local rank; gloo the rest.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    # Only now, for a PyTorch without torch.distributed has neither.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        # torchrun's store outlives a restart, and gloo would wait for the dead whose
        # addresses it still has. (Several nodes do not count restarts alike.)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"attempt {attempt}", store)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        yield Team()
    finally:
        distributed.destroy_process_group()
