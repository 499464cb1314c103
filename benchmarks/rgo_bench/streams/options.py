"""The options that every stream has, and their checks."""

from abc import ABC
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StreamOptions(ABC):
    """What every stream lets the user choose; each stream has a final subclass."""

    tasks: int  # number of tasks
    samples: int  # training images of a task
    batch: int  # images of a training step
    epochs: int  # passes over the training images of a task
    lr: float  # the learning rate of the protocol
    order: int | None = None  # which order the same tasks come in; None: their own

    def __post_init__(self) -> None:
        for option in ("tasks", "samples", "batch", "epochs"):
            check_count(option, getattr(self, option))
        check_positive("lr", self.lr)
        if self.order is not None:
            check_count("order", self.order)

    @property
    def steps(self) -> int:
        """The number of training steps of a task."""
        return -(-self.samples // self.batch) * self.epochs

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name, as a record's configuration states them."""
        return asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return tuple(field.name for field in fields(cls))


def check_count(option: str, value: object) -> None:
    """Raise unless an option is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"option {option!r}: expected a positive integer, got {value!r}"
        )


def check_positive(option: str, value: object) -> None:
    """Raise unless an option is a positive, finite number."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 < value < float("inf")
    ):
        raise ValueError(
            f"option {option!r}: expected a positive number, got {value!r}"
        )


def check_choice(option: str, value: object, choices: tuple[str | None, ...]) -> None:
    """Raise unless an option is one of the names offered; None is ``null`` there."""
    if value not in choices:
        listed = ", ".join("null" if each is None else each for each in choices)
        raise ValueError(f"option {option!r}: expected one of {listed}, got {value!r}")
