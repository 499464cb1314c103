"""Models that tensor parallelism cut up learn what one worker's whole model does."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_forked
from torch_backend.nets import assert_same
from torch_backend.tensor_parallel_workers import RANKS, SKETCH, learned, model
from torch_backend.tolerance import assert_near
from torch_backend.worker_marks import ALONE, NEEDS_FULLY_SHARD, NEEDS_GLOO

SCRIPT = Path(__file__).with_name("tensor_parallel_workers.py")
Found = list[dict[str, Any]]

pytestmark = [NEEDS_GLOO, NEEDS_FULLY_SHARD, ALONE]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Return what each of four workers has found."""
    folder = tmp_path_factory.mktemp("tensor-parallel")
    run_forked(SCRIPT, folder, timeout=300)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@cache
def alone(optimizer: str, sketched: bool = False) -> dict[str, Any]:
    """Return what one worker has, with a model that is whole."""
    options = SKETCH if sketched else {}
    return learned(model(), optimizer, project="update", **options)


@pytest.mark.parametrize(
    ("way", "optimizer"),
    [
        ("sgd", "sgd"),
        ("adamw", "adamw"),
        ("tensors", "adamw"),  # between layers that leave them as DTensors
        ("tokens", "adamw"),  # between layers each worker has a part of the tokens
        ("sketch", "adamw"),
        ("failing", "adamw"),
        ("grid", "adamw"),  # two by two, of which two see other samples
    ],
)
def test_parts_learn_what_the_whole_does(
    found: Found, way: str, optimizer: str
) -> None:
    one = alone(optimizer, way == "sketch")
    for worker in found:
        mine = worker[way]
        for own, other in zip(mine["outputs"], one["outputs"], strict=True):
            assert_near(own, other, amplification=1e5)
        for name, weight in one["model"].items():
            assert_near(mine["model"][name], weight, amplification=1e5)
        entries = one["state"]["parameters"]
        assert list(mine["state"]["parameters"]) == list(entries)
        assert mine["state"]["encoding"] == one["state"]["encoding"]
        for name, entry in entries.items():
            if name == "attention.key.bias":
                continue  # a softmax does not see it: its curvature is rounding alone
            for key, part in entry.items():
                if key.startswith("projection") and not key.endswith("factor"):
                    assert_near(
                        mine["state"]["parameters"][name][key], part, amplification=1e5
                    )


def test_it_is_the_encoding_that_protects(found: Found) -> None:
    """It reaches across workers: without it another network is learned."""
    one = learned(model(), "adamw", project="update", encode=False)
    apart = [
        float((own - other).norm())
        for own, other in zip(found[0]["adamw"]["outputs"], one["outputs"], strict=True)
    ]
    assert min(apart) > 1e-3


def test_all_workers_have_one_state(found: Found) -> None:
    for worker in found[1:]:
        for way in ("sgd", "adamw", "grid"):
            assert_same(worker[way]["state"], found[0][way]["state"])


def test_what_does_not_go_is_refused(found: Found) -> None:
    said = found[0]["refusals"]
    expected = {
        "late": "ValueError: words.weight: cut up since RGO was attached",
        "merged": "RuntimeError: merge_for expects a model that is whole",
        "gradient": "ValueError: expected project='update' of a model that tensor",
        "no group": "ValueError: process_group must say which workers see other",
        "both": "ValueError: ",
    }
    assert list(said) == list(expected)
    for name, start in expected.items():
        assert said[name].startswith(start), said[name]
    assert "one of them alone" in said["both"]
    for worker in found[1:]:
        assert worker["refusals"] == said
