"""The state beside large models' adapters is counted without a weight of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("peft")
pytest.importorskip("transformers")

from rgo_bench.cli.app import app
from rgo_bench.lora import large

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SMALL = large.Large(
    kind="LlamaForCausalLM",
    sizes={
        "vocab_size": 10,
        "hidden_size": 8,
        "intermediate_size": 2048,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    shared=[("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")],
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", {"llama-3-8b": SMALL})


def test_a_sketch_takes_its_rows_of_the_wide_layers_alone() -> None:
    whole, sketched = large.state_rows(["llama-3-8b"], rank=4, sketches=(None, 64))
    assert whole.layers == 7  # q, k, v, o, gate, up, down
    a, b = 6 * 8**2, 7 * 4**2
    assert whole.state_bytes == 12 * (a + b + 2048**2)
    assert sketched.state_bytes == 12 * (a + b + 64 * 2048)
    a = 3 * 8**2  # q with k and v, o, gate with up
    assert whole.shared_bytes == 12 * (a + b + 2048**2)
    widths = (8 + 8) * 2 + (8 + 4) * 2 + (8 + 2048) * 3
    assert (whole.trained, whole.adapter_bytes) == (4 * widths, 16 * widths)


def test_the_command_prints_and_writes_what_was_counted(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    asked = ["memory", "--model", "llama-3-8b", "--rank", "2", "--out", str(file)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "64 rows" in result.output
    rows = json.loads(file.read_text())["rows"]
    assert [row["sketch_rows"] for row in rows] == [None, 128, 64]
    assert all(row["shared_bytes"] < row["state_bytes"] for row in rows)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--model", "gpt-9"), "^--model: expected one of llama-3-8b, got gpt-9$"),
        (("mlp", "--model", "llama-3-8b"), "networks to measure or .*, got both"),
        ((), "networks to measure or a --model to count, got neither"),
    ],
)
def test_one_or_the_other_is_counted(asked: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["memory", *asked])
    with pytest.raises(ValueError, match=message):
        raise result.exception or AssertionError(result.output)
