"""The examples with adapters run as they stand."""

import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from documents import ROOT, code_blocks, permuted_digits
from matplotlib import pyplot

PAGE = "docs/fine-tune.md"


# Theirs.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_examples_with_adapters_remember_their_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    first, *rest = code_blocks("docs/adapters.md")
    exec(first, names)
    assert names["accuracy"] > 0.8
    for block in rest:
        exec(block, names)
    assert list(names["rgo"].encoder.widths) == ["1.down", "1.up", "2"]


# Theirs.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_tutorial_keeps_what_a_plain_adapter_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate")  # the Trainer's
    pytest.importorskip("peft")
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    try:
        for block in code_blocks(PAGE):
            exec(block, names)
    finally:
        pyplot.close("all")
    assert fmean(names["plain"][-1]) < 0.6
    assert min(names["kept"][-1]) > 0.9
    assert min(names["trained"]) > 0.9
    drawn = re.findall(r"^!\[.+\]\((.+)\)$", (ROOT / PAGE).read_text(), re.MULTILINE)
    for name in drawn:
        assert (tmp_path / name).stat().st_size < 60_000
        assert (ROOT / "docs" / name).stat().st_size < 60_000
    assert len(drawn) == 1


def test_adapters_in_jax_are_the_zero_function_in_any_order() -> None:
    _, equinox, _ = code_blocks("docs/jax-adapters.md")
    names: dict = {"stream": [None] * 2}
    exec(equinox, names)
    layer, x = names["network"].layer, np.linspace(-1, 1, 64, dtype=np.float32)
    for task in range(2):
        assert np.array_equal(layer(x, task), layer.base(x))
    trained = names["params"]
    assert trained.layer.base.weight is None
    assert trained.layer.a.weight is not None


def test_the_loop_with_adapters_in_jax_trains_them_alone() -> None:
    flax, _, loop = code_blocks("docs/jax-adapters.md")
    stream = [
        [(x.numpy(), y.numpy()) for x, y in permuted_digits(task)[:4]]
        for task in range(2)
    ]
    names: dict = {"stream": stream}
    exec(flax, names)
    before = names["params"]
    exec(loop, names)
    assert not any("base" in name for name in names["moments"])
    assert len(names["moments"]) == 4  # a, b, and the head's kernel and bias
    closed = np.linalg.eigvalsh(names["protection"].weights["layer/a/kernel"])
    assert closed.min() < 0.5 < 1 < closed.max()
    moved = names["params"]["layer"]["b"]["kernel"]
    assert not np.array_equal(moved[...], before["layer"]["b"]["kernel"][...])
