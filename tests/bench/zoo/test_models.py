from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from rgo_bench.zoo.loss import loss
from rgo_bench.zoo.models import hugging_face
from rgo_bench.zoo.registry import ZOO

NEEDS = {
    **dict.fromkeys(("vit", "bert", "gpt2", "llama", "convnext"), ("transformers",)),
    "minilm": ("transformers", hugging_face.MINILM),
    "audio": ("sktime",),
}


def need(name: str) -> None:
    for package in NEEDS.get(name, ()):
        if find_spec(package) is None:
            pytest.skip(f"{name} needs the package {package}")


@pytest.mark.parametrize("name", ZOO)
def test_a_model_gives_logits_that_can_be_learned(name: str) -> None:
    need(name)
    entry = ZOO[name]
    (task, *_) = entry.stream(0)
    torch.manual_seed(0)
    model = entry.build()
    x, y = task.train.x[:2], task.train.y[:2]
    logits = model(x)
    assert logits.shape[:-1] == y.shape
    assert logits.shape[-1] > int(task.train.y.max())
    assert list(model.get_submodule(entry.head).parameters())
    loss(logits, y).backward()
    reached = [p.grad is not None for p in model.parameters()]
    # MiniLM has position embeddings and a pooler that other uses need.
    assert all(reached)


@pytest.mark.parametrize("name", [name for name in ZOO if name != "minilm"])
def test_a_seed_always_draws_the_same_model(name: str) -> None:
    need(name)
    states = []
    for _ in range(2):
        torch.manual_seed(1)
        states.append(ZOO[name].build().state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", [name for name in ZOO if name != "minilm"])
def test_a_model_is_small(name: str) -> None:
    need(name)
    assert sum(p.numel() for p in ZOO[name].build().parameters()) < 150_000


@pytest.mark.parametrize("name", [n for n, e in ZOO.items() if e.shortcuts])
def test_shortcuts_and_heads_are_modules_of_the_model(name: str) -> None:
    modules = dict(ZOO[name].build().named_modules())
    assert {*ZOO[name].shortcuts, ZOO[name].head} <= set(modules)


def test_minilm_comes_pretrained() -> None:
    need("minilm")
    torch.manual_seed(0)
    model = hugging_face.minilm(4)
    words = model.model.bert.embeddings.word_embeddings.weight
    # Random ones have a deviation of 0.02.
    assert float(words.detach().std()) > 0.03


def test_word_pieces_are_of_the_whole_text_and_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    known = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "if": 3, "else": 4}
    small = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, "[UNK]"))
    small.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    small.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", 2), ("[CLS]", 1)
    )
    small.enable_truncation(3)
    small.enable_padding(length=8)
    small.save(str(tmp_path / "tokenizer.json"))
    afresh = hugging_face.minilm_pieces.__wrapped__
    monkeypatch.setattr(hugging_face, "minilm_folder", lambda: tmp_path)
    monkeypatch.setattr(hugging_face, "minilm_pieces", afresh)
    assert hugging_face.word_pieces("if x else if") == [3, 0, 4, 3]


@pytest.mark.parametrize("build", [hugging_face.vit, hugging_face.minilm_folder])
def test_a_missing_package_is_named_with_what_installs_it(
    build: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"expected the package .*pip install 'rgo\[zoo\]'"
    ):
        build()  # type: ignore[operator]
