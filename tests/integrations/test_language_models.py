"""The score has the labels where the model's own loss has them, whatever the model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from integrations.language_models import (
    VOCABULARY,
    Mine,
    Unknown,
    bart,
    batch,
    bert,
    expected_score,
    gpt,
    llama,
    llava,
    t5,
    transformers,
    words,
)
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch_backend.nets import assert_same
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments
from rgo_torch.integrations._alignment import shift_by_loss
from rgo_torch.integrations.huggingface import RGOCallback, cross_entropy_score

# The libraries' own, but not what is said where nothing tells of an alignment.
pytestmark = pytest.mark.filterwarnings("ignore", "error:.*logits are taken")

SHIFTING = {
    "llama": llama,
    "a subclass": lambda: llama(Mine),
    "compiled": lambda: torch.compile(llama(), backend="eager"),
    "two heads": lambda: gpt("GPT2DoubleHeadsModel"),
    "image and text": llava,
    "of no known class": Unknown,
}
UNSHIFTED = {
    "masked": lambda: bert("BertForMaskedLM"),
    "t5": t5,
    "bart": lambda: bart("BartForConditionalGeneration"),
    # Causal by its name, and computes its loss without a shift.
    "a decoder alone": lambda: bart("BartForCausalLM"),
}


@pytest.mark.parametrize("name", SHIFTING)
def test_what_a_model_shifts_is_shifted(name: str) -> None:
    model = SHIFTING[name]()
    logits, labels = model(**batch())["logits"], batch()["labels"]
    found = cross_entropy_score()(model, batch())
    assert_near(found, expected_score(logits[:, :-1], labels[:, 1:]))


@pytest.mark.parametrize("name", UNSHIFTED)
def test_what_a_model_does_not_shift_is_not(name: str) -> None:
    model = UNSHIFTED[name]()
    logits, labels = model(**batch()).logits, batch()["labels"]
    found = cross_entropy_score()(model, batch())
    assert_near(found, expected_score(logits, labels))


@pytest.mark.parametrize("kind", ["SequenceClassification", "TokenClassification"])
def test_classes_of_a_causal_network_are_not_shifted(kind: str) -> None:
    model, x = llama(f"LlamaFor{kind}"), words()
    model.config.pad_token_id = VOCABULARY
    labels = x[:, 0] % 3 if kind.startswith("Sequence") else x % 3
    given = {"input_ids": x, "labels": labels}
    expected = cross_entropy_score(shift=False)(model, given)
    assert_near(cross_entropy_score()(model, given), expected)


def test_scores_of_several_networks_at_once_are_aligned_by_their_class() -> None:
    models = [llama(Mine) for _ in range(2)]
    models[0].set_attn_implementation("eager")
    for weight in models[1].parameters():
        weight.data.mul_(1.5)
    stacked, _ = stack_module_state(models)

    class Called(nn.Module):
        def __init__(self, weights: dict[str, Tensor]) -> None:
            super().__init__()
            self.inner, self.weights = models[0], weights

        def get_base_model(self) -> nn.Module:
            return self.inner

        def forward(self, **given: Tensor) -> Any:
            return functional_call(self.inner, self.weights, (), given)

    score = cross_entropy_score()
    given = {name: words() for name in ("input_ids", "labels")}
    found = vmap(lambda weights: score(Called(weights), given))(stacked)
    for row, model in zip(found, models, strict=True):
        expected = cross_entropy_score(shift=True)(model, given)
        assert_near(row.float(), expected.float())  # as a Llama normalizes


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_second_moments_are_those_of_the_model_s_own_loss(
    chunk_size: int | None,
) -> None:
    model, batches = llama(Mine), [batch(8), batch(2, 7)]
    found, expected = (
        second_moments(model, batches, score=score, chunk_size=chunk_size)
        for score in (cross_entropy_score(), cross_entropy_score(shift=True))
    )
    assert_same(found, expected)


def test_the_trainer_s_callback_finds_the_alignment_once_for_all_tasks(
    tmp_path: Path,
) -> None:
    pytest.importorskip("accelerate")
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    data = [{"input_ids": x, "labels": x} for x in words(8)]
    with pytest.MonkeyPatch.context() as patch:
        looked: list[Any] = []

        def look(*given: Any) -> bool | None:
            looked.append(given)
            return shift_by_loss(*given)

        patch.setattr("rgo_torch.integrations._alignment.shift_by_loss", look)
        states = []
        for score in (None, cross_entropy_score(shift=True)):
            model = llama(Mine)
            tasks = RGOCallback(seed=0, encode=False, score=score)
            for _ in range(2):
                trainer = transformers.Trainer(
                    model, arguments, train_dataset=data, callbacks=[tasks]
                )
                trainer.train()
            states.append(tasks.state_dict())
    assert len(looked) == 2  # on trial, and at the end of the first task
    assert_same(states[0], states[1])
