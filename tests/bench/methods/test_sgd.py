from pathlib import Path

import torch
from bench.short_runs import make_method, short_spec
from bench.small_settings import BATCH, samples, tiny_network
from torch.nn import functional

from rgo_bench.runs.run import run


def test_it_is_the_loop_that_everyone_writes_bit_for_bit() -> None:
    method = make_method("sgd")
    network = tiny_network(0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for task in range(2):
        x, y = samples(task, method.setting)
        method.begin_task(task)
        for batch in zip(x.split(BATCH), y.split(BATCH), strict=True):
            method.step(*batch)
            optimizer.zero_grad()
            functional.cross_entropy(network(batch[0]), batch[1]).backward()
            optimizer.step()
    assert all(map(torch.equal, method.network.parameters(), network.parameters()))
    assert torch.equal(method.predict(x, 0), network(x))


def test_it_spends_no_time_on_curvature_or_consolidation(tmp_path: Path) -> None:
    seconds = run(short_spec("sgd"), tmp_path).seconds
    assert seconds["curvature"] == seconds["consolidate"] == 0
    assert min(seconds["train"], seconds["evaluate"]) > 0
