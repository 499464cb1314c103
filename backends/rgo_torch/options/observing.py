"""What observes a task's curvature: `second_moments`, some of its options bound."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from rgo_torch.observation.curvature_pass import second_moments
from rgo_torch.parameters.parameter import Moment

Observe = Callable[..., Mapping[str, Moment]]

# What it takes that RGO chooses where it is left out, by other options.
CHOSEN = ("per", "reduce", "curvature")
# What `end_task` takes for a task, in place of what is bound.
ASKED = ("mask", "score", "loss", "samples", "whole")
# What says in which form moments are kept, which is the projector's to know.
FORMS = ("layout", "max_features", "sketch_rows", "shared_inputs")


class Observing(NamedTuple):
    """A pass over a task's data, and what was bound of its options."""

    function: Observe
    bound: dict[str, Any]

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own, of which RGO knows nothing."""
        return self.function is not second_moments

    @property
    def name(self) -> str:
        """What a state tells of it."""
        function = self.function
        return getattr(function, "__qualname__", type(function).__qualname__)

    def told(self) -> dict[str, Any]:
        """Return what a state tells of it, and must be the same where it goes on."""
        told = {name: self.bound.get(name) for name in CHOSEN}
        return {**told, "observe": self.name} if self.is_own else told

    def __call__(self, *args: Any, **options: Any) -> dict[str, Moment]:
        """Run the pass; what is None is not passed on, nor what is bound for RGO."""
        given = {key: value for key, value in options.items() if value is not None}
        asked = {key: value for key, value in given.items() if key in ASKED}
        return dict(self.function(*args, **{**given, **self.bound, **asked}))


def as_observing(observe: Observe | None) -> Observing:
    """Return what the option `observe` of `RGO` says.

    Raises
    ------
    TypeError
        If it is no callable, or a partial with positional arguments or what `RGO` alone
        gives.
    """
    if observe is None:
        return Observing(second_moments, {})
    if not callable(observe):
        raise TypeError(
            "observe must be a callable, such as partial(rgo_torch.second_moments, "
            f"per='batch'), got {observe!r}"
        )
    if not isinstance(observe, partial):
        return Observing(observe, {})
    given = set(FORMS) & set(observe.keywords)
    if observe.args or given:
        what = sorted(given) or f"the positional arguments {observe.args}"
        raise TypeError(
            f"observe must leave model, batches, {', '.join(FORMS)} to RGO, got a "
            f"partial with {what}"
        )
    return Observing(observe.func, dict(observe.keywords))
