"""The JSON text of a record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from rgo_bench.records.record import Record

_METRICS = ("acc", "bwt")
_LAST = ("seconds", "environment")
_KEYS = (
    *(field.name for field in fields(Record) if field.name not in _LAST),
    *(*_METRICS, *_LAST),
)
_OPTIONAL = ("train_accuracy", "kept")  # left out where they were not measured
_LONG = ("config", "accuracy", "seconds", "environment")  # a line for each entry
_DECIMALS = 3


def record_text(record: Record) -> str:
    """Return a record as JSON, each row of the accuracy matrix on a line of its own.

    A row ends with the last task that was tested after it. The metrics stand beside
    what the record's fields say. What JSON cannot hold is refused, as are numbers that
    are not finite.
    """
    parts = {key: getattr(record, key) for key in _KEYS}
    parts["accuracy"] = [_tested(row) for row in record.accuracy]
    parts["seconds"] = {
        phase: round(spent, _DECIMALS) for phase, spent in record.seconds.items()
    }
    for name in _METRICS:
        parts[name] = round(parts[name], _DECIMALS)
    body = ",\n".join(
        f"  {_line(key)}: {_block(part) if key in _LONG else _line(part)}"
        for key, part in parts.items()
        if part is not None or key not in _OPTIONAL
    )
    return f"{{\n{body}\n}}\n"


def parse_record(text: str) -> Record:
    """Return the record that a text of `record_text` states.

    Rows that state what was not tested, too, as null up to the last task, are read as
    well. Refused are keys that are missing or unknown, values that do not have the form
    of a record, and metrics that are not those of the accuracy matrix.
    """
    parts = json.loads(text)
    _check_keys(parts)
    stated = {name: parts.pop(name) for name in _METRICS}
    rows = parts["accuracy"]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"accuracy: expected rows of numbers, got {rows!r}")
    parts["accuracy"] = tuple((*row, *[None] * (len(rows) - len(row))) for row in rows)
    # What is no list is refused by the record.
    if isinstance(parts.get("train_accuracy"), list):
        parts["train_accuracy"] = tuple(parts["train_accuracy"])
    record = Record(**parts)
    for name, value in stated.items():
        expected = round(getattr(record, name), _DECIMALS)
        if value != expected:
            raise ValueError(
                f"{name}: expected {expected}, computed from the accuracy matrix, got "
                f"{value!r}"
            )
    return record


def _check_keys(parts: Any) -> None:
    if not isinstance(parts, dict):
        raise ValueError(f"expected a JSON object, got {type(parts).__name__}")
    known = ", ".join(_KEYS)
    missing = [key for key in _KEYS if key not in parts and key not in _OPTIONAL]
    if missing:
        raise ValueError(f"expected the keys {known}, got no {', no '.join(missing)}")
    unknown = [key for key in parts if key not in _KEYS]
    if unknown:
        raise ValueError(f"expected only the keys {known}, got {', '.join(unknown)}")


def _tested(row: tuple[float | None, ...]) -> tuple[float | None, ...]:
    tested = [column for column, entry in enumerate(row) if entry is not None]
    return row[: tested[-1] + 1]


def _line(value: object) -> str:
    # NaN and infinity are not JSON; a record must be readable by any reader.
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _block(part: Mapping[str, Any] | Sequence[Any]) -> str:
    if isinstance(part, Mapping):
        brackets = "{}"
        lines = [f"{_line(key)}: {_line(value)}" for key, value in part.items()]
    else:
        brackets, lines = "[]", list(map(_line, part))
    if not lines:
        return brackets
    body = ",\n".join(f"    {line}" for line in lines)
    return f"{brackets[0]}\n{body}\n  {brackets[1]}"
