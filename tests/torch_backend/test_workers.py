"""Workers that saw parts of the data agree, and know what one would know."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from integrations.own_loop import TASKS, network, sgd, task_data
from torch import distributed
from torch_backend.nets import assert_same, loss_of
from torch_backend.tolerance import assert_near

from rgo_torch import RGO

SCRIPT = Path(__file__).with_name("two_workers.py")

pytestmark = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(),
    reason="needs gloo",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each of two workers has found."""
    folder = tmp_path_factory.mktemp("workers")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launch, SCRIPT, folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_the_loop_of_one_worker_serves_two(found: list) -> None:
    first, second = (of_worker["together"] for of_worker in found)
    assert_same(first["state"], second["state"])
    assert_same(dict(first["model"]), dict(second["model"]))
    model = network()
    optimizer = sgd(model.parameters())
    rgo = RGO(model, optimizer, seed=0)
    for task in range(TASKS):
        x, y = task_data(task)
        rgo.begin_task(task)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            optimizer.step()
        rgo.end_task([(x, y)])
    alone = rgo.state_dict()
    assert first["state"]["finished"] == alone["finished"]
    assert list(first["state"]["parameters"]) == list(alone["parameters"])
    for name, entry in alone["parameters"].items():
        together = first["state"]["parameters"][name]
        assert int(together["count"]) == int(entry["count"])
        for key in ("matrix", "projection"):
            assert_near(together[key], entry[key], amplification=1e4)


def test_workers_that_are_asked_to_stay_apart_know_their_own_share(found: list) -> None:
    first, second = (of_worker["apart"]["state"]["parameters"] for of_worker in found)
    both = found[0]["together"]["state"]["parameters"]
    for name, entry in both.items():
        assert int(first[name]["count"]) == int(second[name]["count"])
        assert int(entry["count"]) == 2 * int(first[name]["count"])
        assert not torch.equal(first[name]["matrix"], second[name]["matrix"])


def test_a_worker_that_fails_stops_the_others(found: list) -> None:
    first, second = (of_worker["none"] for of_worker in found)
    assert re.match("RuntimeError: worker 1 failed to observe: .* at least one", first)
    assert re.match("ValueError: the curvature pass needs at least one batch", second)


def test_workers_with_other_options_are_refused(found: list) -> None:
    for rank, of_worker in enumerate(found):
        message = (
            "RuntimeError: all workers must have the same seed, places and options, "
            rf"got .*'damping': {rank + 1.0}.* here and .*'damping': {2.0 - rank}"
        )
        assert re.match(message, of_worker["other"])
