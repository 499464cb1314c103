"""A merged copy is a plain model with the outputs of one task."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import batch as vectors
from torch_backend.nets import (
    batches,
    compiled,
    conv_net,
    hooks_of,
    mlp,
    sgd,
    train,
    weights_of,
)

from rgo_torch import RGO, FeatureEncoding, Place

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def learned(model: nn.Module, **options: Any) -> RGO:
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, seed=7, **options)
    for task in range(2):
        rgo.begin_task(task)
        train(model, optimizer, batches(seed=task))
        rgo.end_task(batches(seed=task))
    return rgo


@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("encode", [True, ["0", "2", "4"], [Place("0", "output"), "4"]])
def test_an_encoding_is_written_into_the_weights(encode: Any, task: int) -> None:
    model = mlp()
    rgo = learned(model, encode=encode)
    before, (x, _) = weights_of(model), vectors()
    merged = rgo.merge_for(task)
    with rgo.task(task):
        torch.testing.assert_close(merged(x), model(x))
    assert not list(hooks_of(merged))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert type(merged) is nn.Sequential
    merged[0].weight.data.zero_()
    assert not torch.equal(merged[0].weight, model[0].weight)


def test_a_task_without_encoding_is_a_plain_copy() -> None:
    model = mlp()
    merged = learned(model, encode=False).merge_for(1)
    x, _ = vectors()
    assert torch.equal(merged(x), model(x))


def test_a_merged_copy_of_a_compiled_model_is_not_compiled() -> None:
    model = compiled(mlp())
    rgo = RGO(model, sgd(model))
    rgo.begin_task(0)
    assert type(rgo.merge_for(0)) is nn.Sequential


def test_the_statistics_are_those_of_the_task() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4))
    rgo = learned(model, encode=False)
    assert not torch.equal(
        rgo.merge_for(0)[1].running_mean, rgo.merge_for(1)[1].running_mean
    )


@pytest.mark.parametrize(
    "model",
    [
        conv_net(),
        nn.Sequential(nn.Linear(3, 4), FeatureEncoding(4), nn.Linear(4, 2)),
    ],
)
def test_an_encoding_that_no_weight_can_take_up_is_refused(model: nn.Module) -> None:
    rgo = RGO(model, sgd(model))
    rgo.begin_task(0)
    with pytest.raises(ValueError, match=r"a weight of their own.*got others: [14]$"):
        rgo.merge_for(0)


@pytest.mark.parametrize("own", ["weight", "bias"])
def test_what_two_layers_use_is_written_into_each(own: str) -> None:
    model = nn.Sequential(*(nn.Linear(12, 12) for _ in range(3)))
    setattr(model[1], own, getattr(model[0], own))
    rgo, (x, _) = learned(model), vectors()
    merged = rgo.merge_for(1)
    with rgo.task(1):
        torch.testing.assert_close(merged(x), model(x))


def test_a_task_that_was_never_begun_is_refused() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="no task was begun yet"):
        RGO(model, sgd(model)).merge_for(0)


# --- adapters

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")
from torch_backend import small_adapters as small  # noqa: E402


def learned_adapter(base: nn.Module | None = None, **options: Any) -> RGO:
    model = small.Logits(small.adapted(base, **options))
    torch.manual_seed(1)
    optimizer = small.adamw(model)
    rgo = RGO(model, optimizer, seed=7)
    small.learn(rgo, optimizer, range(3))
    return rgo


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dora": True},
        {"use_rslora": True, "lora_alpha": 5},
        {"bias": "all"},
        {"lora_bias": True},
        {"target_modules": ["word_embeddings", "query"]},
        {"target_modules": "all-linear", "lora_dropout": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("task", [0, 2])
def test_a_merged_adapter_gives_what_the_encoded_one_gives(
    options: Any, task: int
) -> None:
    rgo = learned_adapter(**options)
    merged, words = rgo.merge_for(task).eval(), small.batch(999)[0]
    with rgo.task(task):
        expected = rgo.model.eval()(words)
    torch.testing.assert_close(merged(words), expected, rtol=1e-12, atol=1e-12)
    assert not any("lora" in name for name, _ in merged.named_modules())
    assert not list(hooks_of(merged))
    with rgo.task(1 - min(task, 1)):
        other = rgo.model.eval()(words)
    assert not torch.allclose(merged(words), other)


def test_layers_that_store_their_weight_the_other_way_merge_too() -> None:
    options = {"target_modules": ["c_attn", "c_fc"], "modules_to_save": ["score"]}
    rgo = learned_adapter(small.gpt2(), fan_in_fan_out=True, **options)
    merged, words = rgo.merge_for(2).eval(), small.batch(999)[0]
    with rgo.task(2):
        torch.testing.assert_close(merged(words), rgo.model.eval()(words))


def test_what_is_merged_is_the_model_of_transformers() -> None:
    model = small.adapted()
    rgo = RGO(model, small.adamw(model), seed=7)
    rgo.begin_task(0)
    assert type(rgo.merge_for(0)) is type(small.bert())


class Tied(nn.Module):
    """A language model whose head has the embedding's weight, as GPT-2's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.inside = nn.Embedding(11, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.words.weight
        self.config = SimpleNamespace(tie_word_embeddings=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.inside(self.words(x).mean(1))))


@pytest.mark.parametrize("task", [0, 1, 2])
def test_tied_weights_are_two_in_the_copy(task: int) -> None:
    model = Tied()
    rgo = RGO(model, sgd(model), seed=7)
    for number in range(3):
        rgo.begin_task(number)
        data = [(torch.randint(11, (8, 4)), torch.randint(11, (8,)))]
        train(model, sgd(model), data)
        rgo.end_task(data)
    merged, (x, _) = rgo.merge_for(task), data[0]
    with rgo.task(task):
        torch.testing.assert_close(merged(x), model(x))
    assert merged.head.weight is not merged.words.weight
    assert not merged.config.tie_word_embeddings
    assert model.head.weight is model.words.weight
    assert model.config.tie_word_embeddings
