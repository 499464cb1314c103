"""What workers tell each other before they go on, so that none waits for the others."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import distributed

from rgo_torch.parameters.parameter import Moment

Result = TypeVar("Result")
Told = list[tuple[Any, list[str]]]  # a setting, and the names of what came of it


def agreed(
    observe: Callable[[], Mapping[str, Moment]],
    setting: Mapping[str, Any],
    group: Any,
) -> tuple[Mapping[str, Moment], Told]:
    """Observe, and tell; raise where a worker of a group has another setting."""
    mine, told = tell("observe", observe, setting, group)
    for rank, other in enumerate(told):
        here = told[0]
        if other[0] != here[0]:
            raise RuntimeError(
                "all workers must have the same seed, places, options and "
                f"parameters, got {apart(here[0], other[0])} on worker 0 and "
                f"{apart(other[0], here[0])} on worker {rank}"
            )
    return mine, told


def tell(
    what: str,
    act: Callable[[], Mapping[str, Result]],
    setting: Any,
    group: Any,
) -> tuple[Mapping[str, Result], Told]:
    """Act, and return what came of it, with the settings and names of all."""
    mine: Mapping[str, Result] = {}
    error = None
    try:
        mine = act()
    except Exception as raised:  # told to the others, and raised below
        error = raised
    report = (None if error is None else repr(error), dict(setting), list(mine))
    everyone: list[Any] = [None] * distributed.get_world_size(group)
    with answered(f"workers told how it went to {what}"):
        distributed.all_gather_object(everyone, report, group=group)
    for rank, (failure, *_) in enumerate(everyone):
        if failure is not None:
            raise RuntimeError(f"worker {rank} failed to {what}: {failure}") from error
    return mine, [(other, names) for _, other, names in everyone]


@contextmanager
def answered(when: str) -> Iterator[None]:
    """Say of a collective call that did not return what that means here."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"a worker was lost, or did not answer in time, as {when}; the task has "
            f"not ended, and nothing has changed: {error}"
        ) from error


def apart(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a setting is not the same in another, into nested ones."""
    found = {}
    for key, value in mine.items():
        if value == (there := other.get(key)):
            continue
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            found[key] = apart(value, there)
        else:
            found[key] = value
    return found
