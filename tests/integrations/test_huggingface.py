"""The Trainer with RGO in a callback learns as a loop of one's own does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from integrations.language_models import bert, expected_score, gpt, words
from integrations.own_loop import (
    STEPS,
    TASKS,
    Wrapped,
    learn,
    mask_of,
    task_data,
)
from torch import Tensor, nn
from torch_backend.nets import assert_same, weights_of
from torch_backend.tolerance import assert_near

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from integrations.trainers import (  # noqa: E402
    Classifier,
    adamw,
    arguments,
    samples,
    trainer,
)

from rgo_torch import second_moments  # noqa: E402
from rgo_torch.integrations._language_models import is_causal  # noqa: E402
from rgo_torch.integrations.huggingface import (  # noqa: E402
    RGOCallback,
    cross_entropy_score,
)

# The libraries' own.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("masked", [False, True])
def test_a_trainer_for_each_task_equals_a_loop_of_one_s_own(
    tmp_path: Path, masked: bool
) -> None:
    mask = mask_of if masked else None
    model, expected = Classifier(), Wrapped()
    tasks = RGOCallback(seed=3, mask=mask)
    for task in range(TASKS):
        trainer(model, tmp_path, tasks, task).train()
    rgo = learn(expected, adamw, project="update", seed=3, mask=mask)
    steps = STEPS * TASKS
    # A step of Adam's is as long as the learning rate, whatever the rounding before.
    for name, weight in expected.state_dict().items():
        found = model.state_dict()[name]
        assert_near(found, weight, amplification=1e3 * steps)
    state, own = tasks.state_dict()["parameters"], rgo.state_dict()["parameters"]
    assert list(state) == list(own)
    for name, entry in own.items():
        found = state[name]["projection"]
        assert_near(found, entry["projection"], amplification=1e4 * steps)


def test_one_trainer_for_all_tasks_equals_one_for_each(tmp_path: Path) -> None:
    models = Classifier(), Classifier()
    both = RGOCallback(seed=3), RGOCallback(seed=3)
    alone = trainer(models[0], tmp_path, both[0], 0)
    for task in range(TASKS):
        alone.train_dataset = samples(task)
        # Trainer keeps the optimizer that it has made.
        alone.optimizer = None
        alone.train()
        trainer(models[1], tmp_path, both[1], task).train()
    assert_same(weights_of(models[0]), weights_of(models[1]))
    assert_same(both[0].state_dict(), both[1].state_dict())


def test_a_task_is_evaluated_in_its_encoding(tmp_path: Path) -> None:
    model, tasks = Classifier(), RGOCallback()
    for task in range(TASKS):
        last = trainer(model, tmp_path, tasks, task)
        last.train()
    x, _ = task_data(0)
    for task in range(TASKS):
        with tasks.task(task):
            predicted = last.predict(samples(0)).predictions
            expected = model.network(x)
        assert_near(torch.as_tensor(predicted), expected)


def test_bfloat16_and_accumulation_are_served(tmp_path: Path) -> None:
    model, tasks = Classifier().float(), RGOCallback()
    model.network.register_forward_pre_hook(lambda _, args: args[0].float())
    for task in range(TASKS):
        options = {"bf16": True, "gradient_accumulation_steps": 2}
        trainer(model, tmp_path, tasks, task, **options).train()
    assert tasks.state_dict()["finished"] == TASKS


def test_several_gpus_in_one_process_are_refused(tmp_path: Path) -> None:
    model, given = Classifier(), arguments(tmp_path)
    given._n_gpu = 2
    optimizer = adamw(model.parameters())
    with pytest.raises(ValueError, match=r"nn\.DataParallel on 2 GPUs"):
        RGOCallback().on_train_begin(given, 0, 0, model=model, optimizer=optimizer)


# --- scores


def test_a_sentence_is_scored_by_its_label() -> None:
    model, x, y = bert("BertForSequenceClassification"), words(), torch.arange(4) % 3
    found = cross_entropy_score()(model, {"input_ids": x, "labels": y})
    assert_near(found, expected_score(model(x).logits[:, None], y[:, None]))


def test_tokens_are_scored_by_the_labels_that_count() -> None:
    model, x = bert("BertForTokenClassification"), words()
    labels = torch.where(x > 2, -100, x)
    found = cross_entropy_score()(model, {"input_ids": x, "labels": labels})
    assert_near(found, expected_score(model(x).logits, labels))


def test_a_causal_model_is_scored_by_the_next_tokens() -> None:
    model, x = gpt(), words()
    labels = torch.where(x > 8, -100, x)
    found = cross_entropy_score(shift=True)(model, {"input_ids": x, "labels": labels})
    assert_near(found, expected_score(model(x).logits[:, :-1], labels[:, 1:]))


def test_causal_models_are_known_by_their_class() -> None:
    assert is_causal(gpt())
    assert not is_causal(bert("BertForSequenceClassification"))
    assert not is_causal(bert("BertForMaskedLM"))
    assert not is_causal(Classifier())
    assert is_causal(torch.compile(nn.DataParallel(gpt())))


def test_causal_models_are_known_behind_adapters() -> None:
    class Adapted(nn.Module):
        def get_base_model(self) -> nn.Module:
            return gpt()

    assert is_causal(Adapted())


def test_a_language_model_is_trained_with_its_own_score(tmp_path: Path) -> None:
    model, tasks = gpt(), RGOCallback(encode=False)
    data = [{"input_ids": x, "labels": x} for x in words(16)]
    given = arguments(tmp_path, num_train_epochs=1)
    transformers.Trainer(model, given, train_dataset=data, callbacks=[tasks]).train()
    moments = tasks.state_dict()["parameters"]

    def shifted(network: nn.Module, batch: Tensor) -> Tensor:
        return expected_score(network(batch).logits[:, :-1], batch[:, 1:])

    expected = second_moments(model, [words(16)], score=shifted, per=None, reduce=None)
    assert set(moments) == set(expected)
    for name, moment in expected.items():
        found = moments[name][moment._fields[0]]
        assert_near(found, moment[0], amplification=100)


class Bare(Classifier):
    """Returns logits without a name."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        return self.network(x)


def test_batches_that_the_score_does_not_know_are_refused() -> None:
    score, model = cross_entropy_score(), bert("BertForSequenceClassification")
    with pytest.raises(TypeError, match="a dict with labels, got tuple; pass score="):
        score(model, (words(), words()))
    with pytest.raises(TypeError, match=r"with labels, got \['input_ids'\]"):
        score(model, {"input_ids": words()})
    boxes = [{"class_labels": torch.zeros(1)}]  # as a detector's
    with pytest.raises(TypeError, match="with labels, got a list of them; pass score="):
        score(model, {"input_ids": words(), "labels": boxes})
    with pytest.raises(TypeError, match="of logits by that name, got Tensor"):
        score(Bare(), {"x": task_data(0)[0], "labels": task_data(0)[1]})


def test_batches_without_labels_are_refused_before_the_training(tmp_path: Path) -> None:
    class Own(transformers.Trainer):
        def compute_loss(self, model: Any, inputs: Any, **kwargs: Any) -> Any:
            raise AssertionError("trained")

    model = Classifier()
    unlabelled = [{"x": sample["x"]} for sample in samples(0)]
    started = Own(
        model,
        arguments(tmp_path),
        train_dataset=unlabelled,
        callbacks=[RGOCallback(seed=3)],
    )
    with pytest.raises(TypeError, match=r"with labels, got \['x'\]; pass score="):
        started.train()


def test_what_a_trial_finds_of_labels_is_found_again(tmp_path: Path) -> None:
    """The warning of an alignment that is guessed comes with the curvature pass."""
    tasks = RGOCallback(seed=3)
    started = trainer(Classifier(), tmp_path, tasks, 0)
    started.train()
    assert tasks._alignment._shift is False
    tasks = RGOCallback(seed=3)
    model = Classifier()
    loader = started.get_train_dataloader()
    tasks.on_train_begin(
        arguments(tmp_path),
        transformers.TrainerState(),
        0,
        model=model,
        optimizer=adamw(model.parameters()),
        train_dataloader=loader,
    )
    assert tasks._alignment._shift is None
    tasks.detach()
