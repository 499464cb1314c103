"""Models that `fully_shard` cut up learn what one worker's whole model does."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_forked
from torch.distributed import checkpoint
from torch_backend.nets import assert_same
from torch_backend.sharded_workers import (
    RANKS,
    SKETCH,
    TASKS,
    WAYS,
    found_in,
    learned,
    model,
    optimizer_of,
)
from torch_backend.tolerance import assert_near
from torch_backend.worker_marks import ALONE, NEEDS_FULLY_SHARD, NEEDS_GLOO

from rgo_torch import RGO

SCRIPT = Path(__file__).with_name("sharded_workers.py")
Found = list[dict[str, Any]]

pytestmark = [NEEDS_GLOO, NEEDS_FULLY_SHARD, ALONE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where four workers have left what they found."""
    folder = tmp_path_factory.mktemp("sharded")
    run_forked(SCRIPT, folder, timeout=300)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    """Return what each of four workers has found."""
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@cache
def alone(project: str, sketched: bool = False) -> dict[str, Any]:
    """Return what one worker has of all the data, with a model that is whole."""
    return found_in(*learned(model(), project, **(SKETCH if sketched else {})))


def assert_like(found: dict[str, Any], one: dict[str, Any]) -> None:
    """Demand what one worker has, but for the rounding of sums."""
    assert_near(found["outputs"], one["outputs"], amplification=1e5)
    for name, weight in one["model"].items():
        assert_near(found["model"][name], weight, amplification=1e5)
    mine, whole = found["state"]["parameters"], one["state"]["parameters"]
    assert list(mine) == list(whole)
    for name, entry in whole.items():
        # A softmax does not see the bias of keys: its curvature is rounding alone.
        seen = [0, 2] if name.endswith("in_proj_bias") else ...
        for key, part in entry.items():
            if key.startswith("projection"):
                parts = [each[seen] for each in (mine[name][key], part)]
                if key.endswith("factor"):  # whose rows have no order and no sign
                    parts = [rows.mT @ rows for rows in parts]
                assert_near(*parts, amplification=1e5)


@pytest.mark.parametrize("way", WAYS)
def test_a_sharded_model_learns_what_a_whole_one_does(found: Found, way: str) -> None:
    workers = [of_worker[way] for of_worker in found]
    for other in workers[1:]:
        assert_same(workers[0]["state"], other["state"])
    assert workers[0]["state"]["finished"] == TASKS
    assert_like(workers[0], alone(WAYS[way][0], way == "update sketch"))


def test_every_parameter_of_it_is_projected(found: Found) -> None:
    before = dict(model().named_parameters())
    for of_worker in found:
        entries = of_worker["gradient"]["state"]["parameters"]
        assert set(entries) == set(before)
        for name, entry in entries.items():
            diagonal = entry.get("projection.diagonal")
            if diagonal is None:
                diagonal = entry["projection"].diagonal(dim1=-2, dim2=-1)
            assert diagonal.mean() < 0.99, name


def test_gradients_that_are_accumulated_are_projected_once(found: Found) -> None:
    assert_like(found[0]["accumulated"], alone("gradient"))


def test_a_task_ends_after_workers_have_failed_to_end_it(found: Found) -> None:
    assert_like(found[0]["failing"], alone("gradient"))


def test_moments_are_sharded_beside_the_model(found: Found) -> None:
    assert_like(found[0]["sharded moments"], alone("update"))
    kept = [
        name
        for of_worker in found
        for name, entry in of_worker["sharded moments"]["state"]["parameters"].items()
        if "count" in entry
    ]
    assert len(kept) == len(set(kept)) == len(alone("update")["model"])


def test_a_whole_model_goes_on_from_its_checkpoint(folder: Path, found: Found) -> None:
    plain = model()
    rgo = RGO(plain, optimizer_of(plain, "update"), seed=0)
    states = {"model": plain.state_dict(), "rgo": rgo.state_dict()}
    checkpoint.load(states, checkpoint_id=folder / "of-4", no_dist=True)
    plain.load_state_dict(states["model"])
    rgo.load_state_dict(states["rgo"])
    assert_like(found_in(plain, rgo), alone("update"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("late", "ValueError: .*: call fully_shard or parallelize_module before RGO"),
        ("merged", "RuntimeError: merge_for expects a model that is whole"),
        ("old optimizer", "ValueError: optimizer must hold the model's parameters"),
    ],
)
def test_what_does_not_go_is_refused_by_name(
    found: Found, name: str, message: str
) -> None:
    for of_worker in found:
        assert re.match(message, of_worker["refusals"][name])
