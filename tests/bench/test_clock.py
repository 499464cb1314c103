import time

import pytest
import torch

from rgo_bench.clock import Clock
from rgo_bench.records import PHASES

CPU = torch.device("cpu")


def test_nothing_was_spent_on_any_phase_at_first() -> None:
    assert Clock(CPU).seconds == dict.fromkeys(PHASES, 0.0)


def test_the_time_inside_counts_towards_its_phase_and_no_other() -> None:
    clock = Clock(CPU)
    start = time.perf_counter()
    for _ in range(2):
        with clock.phase("curvature"):
            time.sleep(0.01)
    assert 0.02 <= clock.seconds.pop("curvature") <= time.perf_counter() - start
    assert set(clock.seconds.values()) == {0.0}


def test_time_between_phases_counts_nowhere() -> None:
    clock = Clock(CPU)
    start = time.perf_counter()
    with clock.phase("train"):
        pass
    time.sleep(0.02)
    with clock.phase("train"):
        pass
    assert clock.seconds["train"] <= time.perf_counter() - start - 0.02


def test_an_interrupted_clock_goes_on_from_what_it_had_counted() -> None:
    earlier = {"train": 5.0, "evaluate": 1.0}
    clock = Clock(CPU, earlier)
    with clock.phase("train"):
        time.sleep(0.001)
    assert 5.001 <= clock.seconds["train"] < 6
    assert clock.seconds["evaluate"] == 1
    assert clock.seconds["consolidate"] == 0
    assert earlier == {"train": 5.0, "evaluate": 1.0}


def test_a_phase_that_fails_is_not_counted() -> None:
    clock = Clock(CPU)
    with pytest.raises(OSError, match="full"), clock.phase("train"):
        raise OSError("full")
    assert clock.seconds["train"] == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_work_that_a_device_was_given_counts_where_it_was_given() -> None:
    device = torch.device("cuda")
    clock = Clock(device)
    x = torch.randn(4096, 4096, device=device)
    x @ x
    with clock.phase("train"):
        for _ in range(50):
            x @ x
    with clock.phase("evaluate"):
        pass
    assert clock.seconds["train"] > 10 * clock.seconds["evaluate"]
