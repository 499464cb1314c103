import re
from pathlib import Path

import pytest
import torch

from rgo_bench.runs.checkpoint import read_checkpoint, write_checkpoint

CPU = torch.device("cpu")
STATE = {
    "config": {"lr": 0.1, "per": "batch", "encode": True, "rank": None},
    "task": 2,
    "accuracy": [[90.0, float("inf")]],
    "method": {"weight": torch.arange(600, dtype=torch.float64).reshape(20, 30)},
}


def test_a_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.checkpoint"
    write_checkpoint(path, STATE)
    state = read_checkpoint(path, CPU)
    weight = state.pop("method")["weight"]
    assert torch.equal(weight, STATE["method"]["weight"])
    assert weight.dtype == torch.float64
    assert state == {key: STATE[key] for key in ("config", "task", "accuracy")}
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_holding_the_old_checkpoint_still_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    write_checkpoint(path, STATE)
    content = path.read_bytes()
    with path.open("rb") as reader:
        write_checkpoint(path, {"task": 3})
        assert reader.read() == content


def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    write_checkpoint(path, STATE)
    content = path.read_bytes()
    message = f"{path}: expected a checkpoint, got a broken file; start again with"
    for length in {0, 1, 31, 32, 33, *range(40, len(content), 97), len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(message)):
            read_checkpoint(path, CPU)


def test_a_single_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    write_checkpoint(path, STATE)
    content = path.read_bytes()
    for place in range(0, len(content), 131):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="broken file"):
            read_checkpoint(path, CPU)
