"""The options of streams and methods: what their types say, and the checks of it."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Check = Callable[[str, object], None]  # of an option's name and value


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a stream or a method lets the user choose.

    Every option must be what its type says: `Count`, `Positive`, `Part`, one of the
    names of a `Literal`, or None where ``| None`` allows it.
    """

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            value, names, checks = getattr(self, name), choices(kind), _checks(kind)
            if names and (value in names or isinstance(value, str) or not checks):
                check_choice(name, value, names, numbers=bool(checks))
            elif value is not None or NoneType not in get_args(kind):
                for check in checks:
                    check(name, value)

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """What an option must be one of, of those that have such names."""
        hints = get_type_hints(type(self)).items()
        return {name: choices(kind) for name, kind in hints if choices(kind)}

    @property
    def numbered(self) -> frozenset[str]:
        """Which options may be a number beside one of such names."""
        hints = get_type_hints(type(self), include_extras=True).items()
        return frozenset(n for n, kind in hints if choices(kind) and _checks(kind))

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name, as a record's configuration states them."""
        return asdict(self)


def choices(kind: Any) -> tuple[Any, ...]:
    """Return what a Literal lists, or a Literal and None; nothing of other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    listed = [name for part in get_args(kind) for name in choices(part)]
    return (None, *listed) if listed else ()


def check_choice(
    option: str, value: object, names: tuple[Any, ...], *, numbers: bool = False
) -> None:
    """Raise unless an option is one of those offered; None is ``null`` there."""
    if value not in names:
        listed = ", ".join("null" if each is None else str(each) for each in names)
        listed += " or a number" if numbers else ""
        raise ValueError(f"option {option!r}: expected one of {listed}, got {value!r}")


def _checks(kind: Any) -> list[Check]:
    if get_origin(kind) is Annotated:
        return list(kind.__metadata__)
    return [check for part in get_args(kind) for check in _checks(part)]


def _number(kind: Any, expected: str, most: float = sys.float_info.max) -> Check:
    """Return the check that an option is a finite number above 0 and at most `most`."""

    def check(option: str, value: Any) -> None:
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        if not is_number or not 0 < value <= most:
            raise ValueError(f"option {option!r}: expected {expected}, got {value!r}")

    return check


Count = Annotated[int, _number(int, "a positive integer")]
Positive = Annotated[float, _number(int | float, "a positive number")]
Part = Annotated[float, _number(int | float, "a number above 0 and at most 1", most=1)]


@dataclass(frozen=True, kw_only=True)
class StreamOptions(Options):
    """What every stream lets the user choose."""

    tasks: Count
    samples: Count  # training images of a task
    batch: Count  # images of a training step
    epochs: Count  # passes over the training images of a task
    lr: Positive  # the learning rate of the protocol
    order: Count | None = None  # which order the same tasks come in; None: their own

    @property
    def steps(self) -> int:
        """The number of training steps of a task."""
        return -(-self.samples // self.batch) * self.epochs
