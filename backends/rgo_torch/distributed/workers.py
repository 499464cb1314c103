"""The end of a task that several workers trained, each on its share of the data."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import distributed, nn

from rgo_core._checks import check_choice
from rgo_torch.distributed.agreement import agreed, answered, tell
from rgo_torch.distributed.shares import find_owners, spread
from rgo_torch.distributed.sums import sum_moments
from rgo_torch.mesh.gathered import mesh_of
from rgo_torch.parameters.forms import empty_moment
from rgo_torch.parameters.parameter import Moment, ProjectedParameter, Projection
from rgo_torch.parameters.projections import Renew, Renewed

Kept = Literal["replicated", "sharded"]
Parameters = Mapping[str, ProjectedParameter]


class Workers:
    """The workers that train one model together, if there are others than this one.

    Parameters
    ----------
    model : nn.Module
        Where it is a DistributedDataParallel, the workers are those of its process
        group; else those of the default group, where there is one. Those of tensor
        parallelism see the same samples and are one.
    group : ProcessGroup, optional
        Other workers than these.
    kept : {"replicated", "sharded"}
        Whether every worker keeps all second moments, or each its share.

    Raises
    ------
    ValueError
        If `kept` is neither, this process is not of the group, moments are to be
        sharded and there is no group, or the model is cut up by tensor parallelism over
        a part of the workers and no group is given.
    TypeError
        If `group` is no process group.
    """

    def __init__(
        self, model: nn.Module, group: Any = None, kept: Kept = "replicated"
    ) -> None:
        check_choice("moments", kept, ("replicated", "sharded"))
        parallel = isinstance(model, nn.parallel.DistributedDataParallel)
        self._group: Any = group
        if parallel and group is None:
            self._group = model.process_group
        mesh = mesh_of(model)
        # The workers that see what this one does, and need but agree.
        self._alike: Any = None if mesh is None else mesh.get_group()
        self._is_one = group is None and _see_the_same(mesh)
        self.sharded = kept == "sharded"
        there = distributed.is_available() and distributed.is_initialized()
        if group is not None:
            _check_group(group, there)
        if self.sharded and not there:
            raise ValueError(
                "moments='sharded' expects workers to share them, got no process "
                "group: call torch.distributed.init_process_group first"
            )

    @property
    def count(self) -> int:
        """How many they are; 1 without a process group."""
        there = distributed.is_available() and distributed.is_initialized()
        if not there or self._is_one:
            return 1
        return distributed.get_world_size(self._group)

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return distributed.get_rank(self._group) if self.count > 1 else 0

    def owned(self, parameters: Parameters) -> frozenset[str] | None:
        """Return the parameters whose moments are kept here; None: of all."""
        if not self.sharded:
            return None
        owners = find_owners(parameters, self.count)
        return frozenset(n for n, owner in owners.items() if owner == self.rank)

    def observe(
        self,
        observe: Callable[[], dict[str, Moment]],
        setting: Mapping[str, Any],
        parameters: Parameters,
    ) -> dict[str, Moment]:
        """Return what all workers observe, added up.

        Parameters
        ----------
        observe : callable
            Returns this worker's moments.
        setting : mapping of str to object
            What all must have in common, lest their projections differ.
        parameters : mapping of str to ProjectedParameter
            Whose moments they are.

        Returns
        -------
        dict of str to SecondMoment, DiagonalMoment or SketchedMoment
            The same on each worker; if sharded, of those that this one owns.

        Raises
        ------
        RuntimeError
            On all workers alike: if one failed to observe, has another setting or other
            parameters. None waits for the others then. If one was lost on the way.
        """
        forms = {n: (p.form, p.groups, p.features) for n, p in parameters.items()}
        setting = {**setting, "parameters": forms}

        def together() -> Mapping[str, Moment]:
            if self._alike is None:
                return observe()
            return agreed(observe, setting, self._alike)[0]

        if self.count == 1:
            return dict(together())
        mine, told = agreed(together, setting, self._group)
        seen = {name for _, names in told for name in names}
        moments = {
            # What a worker did not meet, it saw no vectors of.
            name: mine[name] if name in mine else empty_moment(parameter)
            for name, parameter in parameters.items()
            if name in seen
        }
        owners = find_owners(parameters, self.count) if self.sharded else None
        with answered("second moments were added up"):
            return sum_moments(moments, self._group, owners)

    def divided(self, renew: Renew, parameters: Parameters) -> Renewed:
        """Have each worker renew the projections that it owns, and return those of all.

        Parameters
        ----------
        renew : callable
            Returns the new moments of this worker, and the projections of the
            parameters for whose names the function that it is given returns True.
        parameters : mapping of str to ProjectedParameter

        Raises
        ------
        RuntimeError
            On all workers alike, if one failed; if one was lost on the way.
        """
        owners = find_owners(parameters, self.count)

        def own() -> Renewed:
            return renew(lambda name: owners[name] == self.rank)

        if self.count == 1:
            return own()
        kept: list[Renewed] = []

        def made() -> dict[str, Projection]:
            kept.append(own())
            return kept[0][1]

        mine, told = tell("consolidate", made, {}, self._group)
        seen = {name for _, names in told for name in names}
        with answered("projections were sent round"):
            names = [name for name in parameters if name in seen]
            every = spread(mine, names, parameters, owners, self._group)
        return kept[0][0], every


def _see_the_same(mesh: Any) -> bool:
    """Tell whether all workers are those of a model cut up by tensor parallelism."""
    if mesh is None:
        return False
    if mesh.size() != distributed.get_world_size():
        raise ValueError(
            "process_group must say which workers see other samples, for tensor "
            f"parallelism cut the model up over {mesh.size()} of "
            f"{distributed.get_world_size()} workers; got None"
        )
    return True


def _check_group(group: Any, there: bool) -> None:
    if there and group is distributed.GroupMember.NON_GROUP_MEMBER:
        raise ValueError(
            "process_group must contain this process, and rank "
            f"{distributed.get_rank()} is not a member"
        )
    if not there or not isinstance(group, distributed.ProcessGroup):
        raise TypeError(
            f"process_group must be a torch.distributed.ProcessGroup, got {group!r}"
        )
