"""The JSON text of a record."""

import json
from dataclasses import fields
from typing import Any

from rgo_bench.records.record import Record

_FIELDS = tuple(field.name for field in fields(Record))
_METRICS = ("acc", "bwt")
_LAST = ("seconds", "environment")
_KEYS = (*(name for name in _FIELDS if name not in _LAST), *_METRICS, *_LAST)
_OPTIONAL = ("train_accuracy", "kept")  # left out where they were not measured
_DECIMALS = 3


def record_text(record: Record) -> str:
    """Return a record as JSON, each row of the accuracy matrix on a line of its own.

    A row ends with the last task that was tested after it. The metrics stand beside
    what the record's fields say.

    Raises
    ------
    TypeError
        If the configuration or the environment holds what JSON cannot.
    ValueError
        If they hold a number that is not finite.
    """
    seconds = {
        phase: round(spent, _DECIMALS) for phase, spent in record.seconds.items()
    }
    parts = {
        **{name: _line(getattr(record, name)) for name in _FIELDS},
        "config": _block("{}", _entries(record.config)),
        "accuracy": _block("[]", [_line(_tested(row)) for row in record.accuracy]),
        "seconds": _block("{}", _entries(seconds)),
        "environment": _block("{}", _entries(record.environment)),
        "acc": _line(round(record.acc, _DECIMALS)),
        "bwt": _line(round(record.bwt, _DECIMALS)),
    }
    keys = [
        key for key in _KEYS if key not in _OPTIONAL or getattr(record, key) is not None
    ]
    body = ",\n".join(f"  {_line(key)}: {parts[key]}" for key in keys)
    return f"{{\n{body}\n}}\n"


def parse_record(text: str) -> Record:
    """Return the record that a text states.

    It is JSON, as `record_text` makes it. Rows that state what was not tested, too, as
    null up to the last task, are read as well.

    Raises
    ------
    ValueError
        If the text is not JSON, a key is missing or unknown, a value does not have
        the form of a record, or the metrics are not those of the accuracy matrix.
    """
    parts = json.loads(text)
    _check_keys(parts)
    stated = {name: parts.pop(name) for name in _METRICS}
    rows = parts["accuracy"]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"accuracy: expected rows of numbers, got {rows!r}")
    record = Record(
        **{
            **parts,
            "accuracy": tuple((*row, *[None] * (len(rows) - len(row))) for row in rows),
            "train_accuracy": _entries_or_none(parts.get("train_accuracy")),
        }
    )
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
    missing = [key for key in _KEYS if key not in parts and key not in _OPTIONAL]
    if missing:
        raise ValueError(
            f"expected the keys {', '.join(_KEYS)}, got no {', no '.join(missing)}"
        )
    unknown = [key for key in parts if key not in _KEYS]
    if unknown:
        raise ValueError(
            f"expected only the keys {', '.join(_KEYS)}, got {', '.join(unknown)}"
        )


def _tested(row: tuple[float | None, ...]) -> tuple[float | None, ...]:
    tested = [column for column, entry in enumerate(row) if entry is not None]
    return row[: tested[-1] + 1]


def _entries_or_none(value: Any) -> Any:
    # What is no list is refused by the record.
    return tuple(value) if isinstance(value, list) else value


def _line(value: object) -> str:
    # NaN and infinity are not JSON; a record must be readable by any reader.
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _entries(values: Any) -> list[str]:
    return [f"{_line(key)}: {_line(value)}" for key, value in values.items()]


def _block(brackets: str, lines: list[str]) -> str:
    if not lines:
        return brackets
    body = ",\n".join(f"    {line}" for line in lines)
    return f"{brackets[0]}\n{body}\n  {brackets[1]}"
