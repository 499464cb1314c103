"""The small language model over bytes, and what its adapter learns."""

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("transformers")
pytest.importorskip("sphinx")

from rgo_bench.lora import next_bytes
from rgo_bench.lora.training import learn
from rgo_bench.zoo.record import Asked

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def _little_english() -> Iterator[None]:
    """Train the model on little, for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(next_bytes, "PACKAGES", ("numpy.linalg",))
        patch.setattr(next_bytes, "STEPS", 30)
        yield
    next_bytes._trained.cache_clear()
    next_bytes._english.cache_clear()


def test_a_task_is_what_follows_each_byte_of_a_language() -> None:
    tasks = next_bytes.languages(0)
    assert len(tasks) == next_bytes.TASKS
    for x, y in (samples for task in tasks for samples in task):
        assert x.shape == y.shape == (len(x), next_bytes.BYTES)
        assert torch.equal(x[:, 1:], y[:, :-1])
    others = next_bytes.languages(1)
    assert not all(
        torch.equal(one.test.x, other.test.x)
        for one, other in zip(tasks, others, strict=True)
    )


def test_the_model_is_trained_once_and_frozen() -> None:
    one, other = (next_bytes.frozen_language_model() for _ in range(2))
    assert not any(p.requires_grad for p in one.parameters())
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert next_bytes.english(one) > 10  # of 256 bytes
    assert next_bytes.english(next_bytes._drawn()) < 5


@pytest.mark.parametrize("method", ["lora", "rgo", "each"])
def test_an_adapter_learns_languages(method: str) -> None:
    record = learn(Asked("bytes", "llama-bytes", method, 0, steps=3), {})
    assert record.model == "llama-bytes"
    assert [len(row) for row in record.accuracy] == [1, 2, 3, 4]
    assert set(record.abilities) == {"english"}
    assert (record.protected > 0) == (method == "rgo")


def test_without_a_new_head_there_is_nothing_to_train_alone() -> None:
    with pytest.raises(ValueError, match="frozen: expected a stream with a new head"):
        learn(Asked("bytes", "llama-bytes", "frozen", 0, steps=1), {})
