"""The end of a task that several workers trained, each on its share of the data."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import distributed, nn
from torch.utils._pytree import tree_map_only

import rgo_core
from rgo_torch.parameters import Moment


class Workers:
    """The workers that train one model together, if there are others than this one.

    Parameters
    ----------
    model : nn.Module
        Where it is a DistributedDataParallel, the workers are those of its process
        group; else those of the default group, where there is one.
    """

    def __init__(self, model: nn.Module) -> None:
        parallel = isinstance(model, nn.parallel.DistributedDataParallel)
        self._group: Any = model.process_group if parallel else None

    @property
    def count(self) -> int:
        """How many they are; 1 without a process group."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return 1
        return distributed.get_world_size(self._group)

    def observe(
        self, observe: Callable[[], dict[str, Moment]], setting: Mapping[str, Any]
    ) -> dict[str, Moment]:
        """Return what all workers observe, added up: the same on each of them.

        Parameters
        ----------
        observe : callable
            Returns this worker's moments.
        setting : mapping of str to object
            What all must have in common, lest their projections differ.

        Raises
        ------
        RuntimeError
            If another worker failed to observe, or has another setting. None waits for
            the others then.

        Notes
        -----
        Every worker merges the same moments in the same order. They travel one
        parameter at a time: ``n^2`` float64 numbers of each worker.
        """
        if self.count == 1:
            return observe()
        try:
            mine, error = observe(), None
        except Exception as raised:  # told to the others, and raised below
            mine, error = {}, raised
        failures = self._everyone(None if error is None else repr(error))
        if error is not None:
            raise error
        for rank, failure in enumerate(failures):
            if failure is not None:
                raise RuntimeError(f"worker {rank} failed to observe: {failure}")
        for rank, other in enumerate(self._everyone(dict(setting))):
            if other != setting:
                raise RuntimeError(
                    "all workers must have the same seed, places and options, got "
                    f"{dict(setting)} here and {other} on worker {rank}"
                )
        return self._merged(mine)

    def _merged(self, moments: Mapping[str, Moment]) -> dict[str, Moment]:
        names = [name for part in self._everyone(list(moments)) for name in part]
        merged = {}
        for name in dict.fromkeys(names):
            mine = tree_map_only(torch.Tensor, torch.Tensor.cpu, moments.get(name))
            parts = [part for part in self._everyone(mine) if part is not None]
            merged[name] = reduce(rgo_core.merge, parts)
        return merged

    def _everyone(self, mine: Any) -> list[Any]:
        """Return what each worker gave, in the order of their ranks."""
        everyone: list[Any] = [None] * self.count
        distributed.all_gather_object(everyone, mine, group=self._group)
        return everyone
