from dataclasses import replace

import pytest
import torch

from rgo_bench.zoo import training
from rgo_bench.zoo.methods import METHODS, uses_sgd
from rgo_bench.zoo.record import Asked, ZooRecord
from rgo_bench.zoo.registry import ZOO
from rgo_bench.zoo.training import Turns


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def train(name: str, method: str, seed: int, *, steps: int) -> ZooRecord:
    return training.train(Asked(name, name, method, seed, steps), {})


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_a_few_steps_ends_in_a_record(method: str) -> None:
    record = train("mixer", method, 0, steps=2)
    lengths = [3] if method == "joint" else [1, 2, 3]
    assert [len(row) for row in record.accuracy] == lengths
    assert all(0 <= value <= 100 for row in record.accuracy for value in row)
    assert (record.protected > 0) == method.startswith("rgo")
    lr = 1e-2 if method == "frozen" else 0.05 if uses_sgd(method) else 1e-3
    assert record.training == {"steps": 2, "batch": 16, "lr": lr}


def test_with_sgd_gradients_are_projected_by_what_rgo_takes_by_itself() -> None:
    model = ZOO["mixer"].build()
    learner = training.learner_of(model, "rgo-sgd", 0, ZOO["mixer"], {})
    (optimizer,) = learner.rgo.projector._optimizers
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.9
    assert learner.rgo.projector.project == "gradient"
    assert learner.rgo.projector.normalize == "none"


def test_with_a_frozen_body_the_head_alone_is_trained() -> None:
    torch.manual_seed(0)
    before = ZOO["mixer"].build().state_dict()
    model = ZOO["mixer"].build()
    model.load_state_dict(before)
    learner = training.learner_of(model, "frozen", 0, ZOO["mixer"], {})
    Turns(learner, 0, batch=16).learn_in_turn(ZOO["mixer"].stream(0)[:1], 2)
    changed = {n for n, p in model.state_dict().items() if not p.equal(before[n])}
    assert changed == {"head.weight", "head.bias"}


def test_a_run_depends_on_its_seed_alone() -> None:
    runs = [train("resnet-batch", "rgo", seed, steps=2) for seed in (0, 0, 1)]
    assert runs[0].accuracy == runs[1].accuracy != runs[2].accuracy


def test_with_nothing_to_protect_yet_rgo_learns_as_plain_does() -> None:
    plain, rgo = (train("mixer", method, 0, steps=20) for method in ("plain", "rgo"))
    assert rgo.accuracy[0] == plain.accuracy[0]


def test_a_run_that_diverges_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    steep = {"mixer": replace(ZOO["mixer"], lr=1e30)}
    monkeypatch.setattr(training, "ZOO", steep)
    with pytest.raises(ValueError, match="loss: expected a finite number, got"):
        train("mixer", "plain", 0, steps=20)
