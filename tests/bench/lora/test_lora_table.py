"""Records of adapters become one table."""

from pathlib import Path

import pytest
from bench.zoo.sample_zoo import zoo_record

from rgo_bench.lora.plot import lora_figure
from rgo_bench.lora.table import lora_rows, lora_sheet
from rgo_bench.zoo.record import read_zoo_records, write_zoo_record


def test_methods_come_in_their_order_with_their_time_over_lora() -> None:
    slow = {"train": 15.0, "consolidate": 5.0, "evaluate": 0.0}
    records = [
        zoo_record(method="rgo", seconds=slow, state_bytes=2**21),
        zoo_record(method="lora"),
        zoo_record(method="lora", seed=1, accuracy=[[80.0], [70.0, 90.0]]),
    ]
    first, second = lora_rows(records).itertuples()
    assert (first.method, first.seeds, second.method) == ("lora", 2, "rgo")
    assert (first.time, second.time, second.state) == (1.0, 2.0, 2.0)
    assert first.acc == pytest.approx((170 / 3 + 80) / 2)
    sheet = lora_sheet(records)
    assert sheet.grids[0].cells[0][1:5] == ("lora", "2", "68.3 ± 11.7", "-30.0 ± 20.0")
    assert sheet.grids[0].cells[1][-2:] == ("2.0 MiB", "")


def test_what_the_body_can_still_do_is_told_where_it_was_measured() -> None:
    known = zoo_record(method="lora", abilities={"retrieval": 51.25})
    rows = lora_rows([known, zoo_record(method="lora", seed=1)])
    assert list(rows.ability) == [51.25]


def test_a_picture_has_an_axis_for_each_stream_and_a_line_for_each_method() -> None:
    records = [
        zoo_record(method="lora", model="a"),
        zoo_record(method="rgo", model="a"),
        zoo_record(method="rgo", model="a", options={"damping": 1}),
        zoo_record(method="rgo", model="b"),
    ]
    first, second = lora_figure(records).axes
    assert (first.get_title(), second.get_title()) == ("a", "b")
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert labels == ["LoRA + RGO", "LoRA"]
    assert len(first.lines) == 3 * 2
    assert len(second.lines) == 3
    left, learned = second.lines[0].get_xdata()
    assert (left, learned) == (pytest.approx(170 / 3), 90.0)


def test_a_picture_needs_records() -> None:
    with pytest.raises(ValueError, match="expected records of adapters to draw"):
        lora_figure([])


def test_without_a_plain_adapter_there_is_no_ratio() -> None:
    rows = lora_rows([zoo_record(method="rgo", options={"damping": 1})])
    assert rows.time.isna().all()
    sheet = lora_sheet([zoo_record(method="rgo", options={"damping": 1})])
    assert sheet.grids[0].cells[0][1] == "rgo damping=1"


def test_records_lie_apart_from_those_of_the_zoo(tmp_path: Path) -> None:
    record = zoo_record(method="rgo", model="minilm-modules")
    path = write_zoo_record(tmp_path, record, "lora")
    assert path == tmp_path / "minilm-modules" / "rgo" / "lora-0.json"
    assert read_zoo_records(tmp_path, "lora") == [record]
    assert read_zoo_records(tmp_path) == []
