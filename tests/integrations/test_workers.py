"""Workers that saw parts of the data agree, and know what one would know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from integrations.own_loop import TASKS, network, sgd, task_data
from torch import distributed
from torch_backend.nets import assert_same
from torch_backend.tolerance import assert_near

from rgo_torch import RGO
from rgo_torch.integrations._workers import end_task_together

SCRIPT = Path(__file__).with_name("two_workers.py")


def one_worker() -> RGO:
    model = network()
    rgo = RGO(model, sgd(model.parameters()), seed=0)
    for task in range(TASKS):
        rgo.begin_task(task)
        end_task_together(rgo, [task_data(task)])
    return rgo


def test_a_worker_on_its_own_ends_its_task_as_ever() -> None:
    model = network()
    rgo = RGO(model, sgd(model.parameters()), seed=0)
    for task in range(TASKS):
        rgo.begin_task(task)
        rgo.end_task([task_data(task)])
    assert_same(one_worker().state_dict(), rgo.state_dict())


@pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(),
    reason="needs gloo",
)
def test_two_workers_get_the_projections_of_one(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, SCRIPT, tmp_path, str(rank)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert_same(first, second)
    alone = one_worker().state_dict()
    assert first["finished"] == alone["finished"]
    assert list(first["parameters"]) == list(alone["parameters"])
    for name, entry in alone["parameters"].items():
        assert int(first["parameters"][name]["count"]) == int(entry["count"])
        for key in ("matrix", "projection"):
            assert_near(first["parameters"][name][key], entry[key], amplification=100)
