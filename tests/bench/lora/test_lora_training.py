"""Every method teaches one adapter two tasks, and records what came of it."""

from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("transformers")
from bench.lora.small_body import put, tiny, words

from rgo_bench.lora.choice import CLASSES_OF, METHODS
from rgo_bench.lora.methods import Method
from rgo_bench.lora.registry import Entry
from rgo_bench.lora.rivals import Elastic, Orthogonal, Replay
from rgo_bench.lora.training import learn
from rgo_bench.zoo.record import Asked, ZooRecord

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch)


def learned(method: str, steps: int = 40, **options: object) -> ZooRecord:
    return learn(Asked("modules", "tiny-modules", method, 0, steps, options), {})


def test_every_method_has_a_class() -> None:
    assert list(CLASSES_OF) == list(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_each_task_and_is_tested_on_all(method: str) -> None:
    record = learned(method, steps=3)
    assert [len(row) for row in record.accuracy] == [1, 2]
    assert record.model == "tiny-modules"
    rate = 1e-4 if method == "full" else 1e-3
    assert record.training == {"steps": 3, "batch": 16, "lr": rate}
    assert (record.state_bytes > 0) == method.startswith(("rgo", "ewc", "o-", "er"))
    assert (record.protected > 0) == method.startswith("rgo")


def test_an_adapter_for_each_task_forgets_nothing() -> None:
    assert learned("each", steps=10).bwt == 0


def test_the_first_task_is_learned_alike_by_all_that_share_an_adapter() -> None:
    first = {learned(m, steps=5).accuracy[0][0] for m in ("lora", "each", "rgo")}
    assert len(first) == 1


def test_options_reach_rgo() -> None:
    more = learned("rgo", steps=2, max_features=1, sketch_rows=1)
    assert more.state_bytes < learned("rgo", steps=2).state_bytes
    assert more.variant == "max_features=1,sketch_rows=1"


def made(kind: type[Method]) -> Any:
    """Return a method after its first task, of twelve samples, and those."""
    entry = Entry(model="minilm", build=tiny, stream=words, lr=1e-2, steps=3)
    torch.manual_seed(0)
    method, samples = kind(entry, 0, {}), words(0)[0].train
    method.begin_task(0)
    for _ in range(3):
        step(method, samples)
    method.end_task(samples)
    method.begin_task(1)
    return method, samples


def step(method: Any, samples: Any) -> None:
    method.optimizer.zero_grad()
    method.loss(samples.x[:12], samples.y[:12]).backward()
    method.optimizer.step()


def test_ewc_pulls_back_what_the_loss_of_the_first_task_curves_in() -> None:
    method, (x, y) = made(Elastic)
    plain = Method.loss(method, x, y)
    assert torch.equal(method.loss(x, y), plain)  # nothing has moved yet
    assert max(float(f.max()) for f in method._fisher) == 1
    with torch.no_grad():
        method._trained[-1] += 0.5  # the head's bias
    pull = method.loss(x, y) - Method.loss(method, x, y)
    torch.testing.assert_close(pull, 0.25 * method._fisher[-1].sum())


def test_o_lora_keeps_the_sum_of_its_adapters_and_begins_one_at_zero() -> None:
    entry = Entry(model="minilm", build=tiny, stream=words, lr=1e-2, steps=3)
    torch.manual_seed(0)
    method, (samples, _) = Orthogonal(entry, 0, {}), words(0)[0]
    for _ in range(3):
        step(method, samples)
    before = method.model(samples.x)
    method.begin_task(1)
    torch.testing.assert_close(method.model(samples.x), before)
    layer, (first,) = method._layers[0], method._earlier[0]
    assert not layer.lora_B["default"].weight.any()
    product = first @ layer.lora_A["default"].weight.mT
    assert product.square().sum() > 0
    penalty = method.loss(*samples) - Method.loss(method, *samples)
    expected = sum(
        (e[0] @ own.lora_A["default"].weight.mT).square().sum()
        for own, e in zip(method._layers, method._earlier, strict=True)
    )
    torch.testing.assert_close(penalty, 0.5 * expected)


def test_replay_sees_as_many_old_samples_as_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, samples = made(Replay)
    seen: list[int] = []
    method.model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    step(method, samples)
    assert seen == [24]
    assert method.facts()["state_bytes"] == 60 * 7 * 8
    monkeypatch.setattr("rgo_bench.lora.rivals.REPLAY_BYTES", 20 * 7 * 8 + 5)
    method.end_task(samples)
    assert len(method._memory.x) == 20


def test_the_task_is_guessed_from_what_each_encoding_makes_of_a_sample() -> None:
    abilities = learned("rgo", steps=2).abilities
    ways = ("confidence", "moment")
    assert set(abilities) == {"given", *(f"{w} {x}" for w in ways for x in WHAT)}
    assert 0 < abilities["given"] < 100
    assert all(0 <= abilities[f"{way} tasks"] <= 100 for way in ways)
    assert not learned("lora", steps=2).abilities


WHAT = ("tasks", "accuracy")
