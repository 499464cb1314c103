"""The pages that teach run as they stand, and print what they show."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.small_images import idx_bytes
from shown_output import ROOT, assert_near, run_page
from sklearn.datasets import load_digits
from torch_backend.nets import assert_same


def test_what_is_shown_must_come_out() -> None:
    assert_near("kept: 88.1 %\n", "kept:  87.9 %\n")
    with pytest.raises(AssertionError):
        assert_near("kept: 88.1 %", "kept: 54.0 %")
    with pytest.raises(AssertionError):
        assert_near("kept: 88.1 %", "lost: 88.1 %")
    with pytest.raises(AssertionError):
        assert_near("kept: 88.1 %", "")


def test_the_quick_start_runs() -> None:
    names = run_page("docs/quickstart.md")
    rgo = names["rgo"]
    assert rgo.finished == 6
    # Three tasks of 1500 samples, a masked one of 10, 10 outputs of 10 each, and 10.
    assert int(rgo.projector.moments["2.bias"].count) == 3 * 1500 + 10 + 10 * 10 + 10
    assert_same(names["state"]["rgo"], rgo.state_dict())
    x = torch.rand(1, 64)
    with rgo.task(1):
        second = names["model"](x)
    assert not torch.equal(second, names["model"](x))
    vectors = names["vectors"]
    P = np.linalg.inv(np.eye(8) + vectors.T @ vectors / 0.01)
    expected = 8 / np.trace(P) * P @ np.ones((8, 3))
    np.testing.assert_allclose(names["step"], expected, rtol=1e-9)


def test_a_vision_transformer_remembers_its_first_task() -> None:
    names = run_page("docs/vit.md")
    rgo, accuracy = names["rgo"], names["accuracy"]
    assert rgo.projector.protected_share == 1
    with rgo.task(0):
        assert accuracy(names["model"], 0) > 75


def test_plasticity_is_read_as_the_page_says() -> None:
    names = run_page("docs/plasticity.md")
    room = names["rgo"].plasticity()
    assert room["2.bias"] < room["2.weight"] < room["0.weight"] < 1


def write_digits(folder: Path) -> None:
    """Write scikit-learn's digits as the four files of MNIST."""
    digits = load_digits()
    images, labels = (16 * digits.images - 1).clip(0).astype("u1"), digits.target
    for part, rows in (("train", slice(1500)), ("t10k", slice(1500, None))):
        images_idx = idx_bytes(images[rows])
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images_idx)
        labels_idx = idx_bytes(labels[rows].astype("u1"))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels_idx)


def test_permuted_mnist_in_one_file_remembers_what_plain_sgd_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_digits(tmp_path)
    script = str(ROOT / "docs/permuted_mnist.py")
    options = ["--tasks", "3", "--samples", "1500", "--data", str(tmp_path)]
    left = {}
    for way in ("--plain", ""):
        monkeypatch.setattr(sys, "argv", [script, *options, *filter(None, [way])])
        runpy.run_path(script, run_name="__main__")
        last = capsys.readouterr().out.splitlines()[-1]
        left[way] = float(re.search(r"after task 2: +([\d.]+)", last)[1])
    assert left[""] > left["--plain"] + 15


def test_the_page_of_permuted_mnist_shows_what_the_file_prints() -> None:
    page = (ROOT / "docs/permuted-mnist.md").read_text()
    shown = re.findall(r"^after task (\d): +([\d. ]+?) +mean ([\d.]+)$", page, re.M)
    assert [int(task) for task, *_ in shown] == 2 * list(range(5))
    for task, each, mean in shown:
        values = [float(value) for value in each.split()]
        assert len(values) == int(task) + 1
        assert abs(np.mean(values) - float(mean)) < 0.06
    assert float(shown[9][2]) > float(shown[4][2]) + 5
