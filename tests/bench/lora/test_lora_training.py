"""Every method teaches one adapter two tasks, and records what came of it."""

import pytest

pytest.importorskip("peft")
pytest.importorskip("transformers")
from bench.lora.small_body import put

from rgo_bench.lora.methods import CLASSES_OF, METHODS
from rgo_bench.lora.training import learn
from rgo_bench.zoo.record import ZooRecord

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch)


def learned(method: str, steps: int = 40, **options: object) -> ZooRecord:
    return learn("modules", method, 0, options=options, steps=steps, environment={})


def test_every_method_has_a_class() -> None:
    assert list(CLASSES_OF) == list(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_each_task_and_is_tested_on_all(method: str) -> None:
    record = learned(method, steps=3)
    assert [len(row) for row in record.accuracy] == [1, 2]
    assert record.model == "minilm-modules"
    assert record.training == {"steps": 3, "batch": 16, "lr": 1e-3}
    assert (record.state_bytes > 0) == method.startswith("rgo")
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
