import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench.sample_records import make_record

from rgo_bench.records import Record, percent_rows
from rgo_bench.records.text import parse_record, record_text

KEYS = [
    *("stream", "method", "variant", "network", "backend", "seed", "config"),
    *("accuracy", "acc", "bwt", "seconds", "environment"),
]


def test_the_text_is_json_with_the_keys_promised() -> None:
    parts = json.loads(record_text(make_record()))
    assert list(parts) == KEYS
    assert parts["accuracy"] == [[90.0], [80.12, 94.0]]
    assert (parts["acc"], parts["bwt"]) == (87.06, -9.88)
    assert parts["seconds"]["train"] == 1.235


def test_a_record_is_read_back_as_it_was_written() -> None:
    record = make_record(seconds=dict.fromkeys(make_record().seconds, 2.5))
    assert parse_record(record_text(record)) == record
    empty = make_record(config={}, environment={})
    assert parse_record(record_text(empty)).config == {}


def test_the_training_accuracy_has_a_line_where_it_was_measured() -> None:
    record = make_record(
        train_accuracy=(99.5, 98.0), seconds=dict.fromkeys(make_record().seconds, 2.5)
    )
    text = record_text(record)
    assert '  "train_accuracy": [99.5, 98.0],\n' in text
    assert parse_record(text) == record
    assert "train_accuracy" not in json.loads(record_text(make_record()))


def test_twenty_tasks_take_a_line_each_and_about_five_kilobytes() -> None:
    matrix = np.random.default_rng(0).uniform(80, 100, (20, 20))
    text = record_text(make_record(accuracy=percent_rows(matrix)))
    rows = [line for line in text.splitlines() if line.startswith("    [")]
    assert len(rows) == 20
    assert len(text) < 5_000


def test_what_was_not_tested_may_be_stated_to_the_end_of_a_row() -> None:
    short = record_text(make_record())
    parts = json.loads(short)
    parts["accuracy"][0].append(None)
    assert parse_record(json.dumps(parts)) == parse_record(short)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        record_text(make_record(config={"device": object()}))
    with pytest.raises(ValueError, match="Out of range float values"):
        record_text(make_record(config={"lr": float("nan")}))


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda parts: parts.pop(key)


def having(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda parts: parts.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("seed"), "expected the keys stream, method, .* got no seed"),
        (having("host", "x"), "expected only the keys stream, method, .* got host"),
        (
            having("acc", 99.0),
            "acc: expected 87.06, computed from the accuracy matrix, got 99.0",
        ),
        (having("bwt", None), "bwt: expected -9.88, computed .* got None"),
        (having("accuracy", 3), "accuracy: expected rows of numbers, got 3"),
        (having("accuracy", [3]), "accuracy: expected rows of numbers, got [3]"),
        (having("accuracy", [[3, 4]]), "accuracy: expected as many columns as rows"),
        (
            having("accuracy", [[90], [80]]),
            "accuracy: expected percent on task 1 after task 1, got None",
        ),
        (
            having("train_accuracy", 3),
            "train_accuracy: expected percent for each of 2 tasks, got 3",
        ),
        (having("seed", "0"), "seed: expected an integer of at least 0, got '0'"),
        (having("config", None), "config: expected values by name, got None"),
    ],
)
def test_a_changed_text_is_refused(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    parts = json.loads(record_text(make_record()))
    change(parts)
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=pattern):
        parse_record(json.dumps(parts))


def test_another_json_value_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a JSON object, got list"):
        parse_record("[]")


def test_a_cut_text_is_refused_wherever_it_was_cut() -> None:
    text = record_text(make_record())
    for length in range(len(text) - 2):
        with pytest.raises(ValueError, match="char"):
            parse_record(text[:length])


def test_records_compare_by_what_they_say() -> None:
    assert isinstance(make_record(), Record)
    assert make_record() == make_record() != make_record(seed=1)
