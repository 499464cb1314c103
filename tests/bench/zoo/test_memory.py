import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rgo_bench.zoo import memory
from rgo_bench.zoo.memory import peak_meter


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells")
def test_what_was_held_for_a_while_counts() -> None:
    held = peak_meter()
    if held() is None:
        pytest.skip("this Linux does not let a process forget its peak")
    block = torch.ones(40 * 2**18)  # 40 MiB
    del block
    peak = held()
    assert peak is not None
    assert 39 < peak < 80


def test_where_the_peak_cannot_be_reset_none_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "such")
    assert peak_meter()() is None


def test_a_system_without_the_field_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\n")
    monkeypatch.setattr(memory, "_STATUS", status)
    with pytest.raises(OSError, match="expected a line VmRSS, got none"):
        memory._kibibytes("VmRSS")


def test_what_a_process_s_first_optimizer_imports_is_no_run_s() -> None:
    code = "import rgo_bench.zoo.memory as m, sys; m.peak_meter(); print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert "torch._dynamo" in run.stdout.split()
