import json
from pathlib import Path

import pytest
from bench.zoo.sample_zoo import zoo_record

from rgo_bench.records import read_records
from rgo_bench.zoo.record import (
    read_zoo_record,
    read_zoo_records,
    write_zoo_record,
    zoo_path,
)


def test_the_measures_are_those_of_the_accuracy_matrix() -> None:
    record = zoo_record()
    assert record.acc == pytest.approx((30 + 40 + 100) / 3)
    assert record.learning_accuracy == pytest.approx((90 + 80 + 100) / 3)
    assert record.bwt == pytest.approx(((30 - 90) + (40 - 80)) / 2)
    assert record.learning_seconds == 10.0


def test_joint_training_forgets_nothing_that_could_be_counted() -> None:
    record = zoo_record(method="joint", accuracy=[[90.0, 80.0, 70.0]])
    assert record.acc == 80.0
    assert record.bwt is None
    assert record.learning_accuracy is None


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = zoo_record(method="rgo", options={"damping": 0.1, "encode": False})
    path = write_zoo_record(tmp_path, record)
    expected = tmp_path / "mixer" / "rgo" / "damping=0.1,encode=false" / "zoo-0.json"
    assert path == expected
    assert read_zoo_record(path) == record
    assert read_zoo_records(tmp_path) == [record]


def test_a_run_without_options_has_no_folder_for_them(tmp_path: Path) -> None:
    path = zoo_path(tmp_path, zoo_record(model="vit", seed=3))
    assert path == tmp_path / "vit" / "plain" / "zoo-3.json"


def test_records_of_streams_and_of_the_zoo_share_a_folder(tmp_path: Path) -> None:
    write_zoo_record(tmp_path, zoo_record())
    assert read_records(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("no json", "expected a record of the zoo, got Expecting value"),
        ("[1]", r"expected a record with \["),
        ('{"model": "vit"}', r"expected a record with \["),
    ],
)
def test_a_file_that_is_no_record_is_named(
    tmp_path: Path, content: str, expected: str
) -> None:
    path = tmp_path / "zoo-0.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"zoo-0\.json: {expected}"):
        read_zoo_record(path)


def test_a_record_is_plain_json(tmp_path: Path) -> None:
    path = write_zoo_record(tmp_path, zoo_record(peak_mib=None))
    assert json.loads(path.read_text())["peak_mib"] is None
