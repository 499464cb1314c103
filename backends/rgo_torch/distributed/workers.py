"""The end of a task that several workers trained, each on its share of the data."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from torch import distributed, nn

from rgo_core._checks import check_choice
from rgo_torch.distributed.shares import find_owners, spread
from rgo_torch.distributed.sums import sum_moments
from rgo_torch.forms import empty_moment
from rgo_torch.parameters import Moment, ProjectedParameter, Projection
from rgo_torch.projections import Renew, Renewed

Kept = Literal["replicated", "sharded"]
Parameters = Mapping[str, ProjectedParameter]
Result = TypeVar("Result")


class Workers:
    """The workers that train one model together, if there are others than this one.

    Parameters
    ----------
    model : nn.Module
        Where it is a DistributedDataParallel, the workers are those of its process
        group; else those of the default group, where there is one.
    group : ProcessGroup, optional
        Other workers than these.
    kept : {"replicated", "sharded"}
        Whether every worker keeps all second moments, or each its share.

    Raises
    ------
    ValueError
        If `kept` is neither, this process is not of the group, or moments are to be
        sharded and there is no group.
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
        if not (distributed.is_available() and distributed.is_initialized()):
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
        if self.count == 1:
            return observe()
        forms = {n: (p.form, p.groups, p.features) for n, p in parameters.items()}
        mine, told = self._tell("observe", observe, {**setting, "parameters": forms})
        for rank, other in enumerate(told):
            here = told[0]
            if other[0] != here[0]:
                raise RuntimeError(
                    "all workers must have the same seed, places, options and "
                    f"parameters, got {_apart(here[0], other[0])} on worker 0 and "
                    f"{_apart(other[0], here[0])} on worker {rank}"
                )
        seen = {name for _, names in told for name in names}
        moments = {
            # What a worker did not meet, it saw no vectors of.
            name: mine[name] if name in mine else empty_moment(parameter)
            for name, parameter in parameters.items()
            if name in seen
        }
        owners = find_owners(parameters, self.count) if self.sharded else None
        with _answered("second moments were added up"):
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

        mine, told = self._tell("consolidate", made, {})
        seen = {name for _, names in told for name in names}
        with _answered("projections were sent round"):
            names = [name for name in parameters if name in seen]
            every = spread(mine, names, parameters, owners, self._group)
        return kept[0][0], every

    def _tell(
        self, what: str, act: Callable[[], Mapping[str, Result]], setting: Any
    ) -> tuple[Mapping[str, Result], list[tuple[Any, list[str]]]]:
        """Act, and return what came of it, with the settings and names of all."""
        mine: Mapping[str, Result] = {}
        error = None
        try:
            mine = act()
        except Exception as raised:  # told to the others, and raised below
            error = raised
        report = (None if error is None else repr(error), dict(setting), list(mine))
        everyone: list[Any] = [None] * self.count
        with _answered(f"workers told how it went to {what}"):
            distributed.all_gather_object(everyone, report, group=self._group)
        for rank, (failure, *_) in enumerate(everyone):
            if failure is not None:
                raise RuntimeError(
                    f"worker {rank} failed to {what}: {failure}"
                ) from error
        return mine, [(other, names) for _, other, names in everyone]


@contextmanager
def _answered(when: str) -> Iterator[None]:
    """Say of a collective call that did not return what that means here."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"a worker was lost, or did not answer in time, as {when}; the task has "
            f"not ended, and nothing has changed: {error}"
        ) from error


def _check_group(group: Any, there: bool) -> None:
    if there and group is distributed.GroupMember.NON_GROUP_MEMBER:
        raise ValueError(
            f"process_group must have this process for a member, and rank "
            f"{distributed.get_rank()} is none"
        )
    if not there or not isinstance(group, distributed.ProcessGroup):
        raise TypeError(
            f"process_group must be a torch.distributed.ProcessGroup, got {group!r}"
        )


def _apart(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a setting is not the same in another, into nested ones."""
    found = {}
    for key, value in mine.items():
        if value == (there := other.get(key)):
            continue
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            found[key] = _apart(value, there)
        else:
            found[key] = value
    return found
