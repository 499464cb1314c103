"""Several adapters of one model, of which PEFT freezes and thaws some by itself.

The situations of PEFT's issues 2759 (what is trained once there are several) and
3447 (adapters that were frozen are trained after `disable_adapter`), beside RGO.
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch_backend.nets import weights_of

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")
from torch_backend.small_adapters import (  # noqa: E402
    Logits,
    adamw,
    adapted,
    batch,
    bert,
    configuration,
    learn,
)

from rgo_torch import RGO  # noqa: E402

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def attached(inner: nn.Module) -> tuple[RGO, torch.optim.AdamW]:
    model = Logits(inner)
    optimizer = adamw(model)
    return RGO(model, optimizer, seed=7), optimizer


def trained(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_an_adapter_and_a_head_loaded_frozen_are_refused(tmp_path: Path) -> None:
    adapted().save_pretrained(tmp_path)
    frozen = peft.PeftModel.from_pretrained(bert(), tmp_path, is_trainable=False)
    model = Logits(frozen)
    with pytest.raises(ValueError, match="its adapters are frozen too"):
        RGO(model, torch.optim.AdamW(model.parameters()))


def test_to_look_at_the_base_between_tasks_changes_nothing() -> None:
    def end(looking: bool) -> dict[str, torch.Tensor]:
        inner = adapted()
        rgo, optimizer = attached(inner)
        for task in range(3):
            learn(rgo, optimizer, range(task, task + 1))
            if looking:
                with inner.disable_adapter(), torch.no_grad():
                    inner(batch()[0])
        return weights_of(inner)

    plain, other = end(False), end(True)
    assert all(torch.equal(weight, other[name]) for name, weight in plain.items())


def test_an_adapter_that_peft_thaws_is_named_and_not_trained_unseen() -> None:
    inner = peft.get_peft_model(bert(), configuration(inference_mode=True))
    head = inner.base_model.model.classifier.modules_to_save["default"]
    head.requires_grad_(True)  # a new head on an adapter that stays
    rgo, optimizer = attached(inner)
    learn(rgo, optimizer, range(1))
    assert {name.rpartition(".")[0] for name in rgo.projector.parameters} == {
        "model.base_model.model.classifier.modules_to_save.default"
    }
    with inner.disable_adapter():
        pass
    if not any("lora_" in name for name in trained(inner)):
        pytest.skip("this PEFT leaves a frozen adapter frozen")
    with pytest.raises(RuntimeError, match=r"lora_A.* frozen when RGO was attached"):
        rgo.begin_task()


def test_a_frozen_adapter_may_be_loaded_beside_the_one_that_learns(
    tmp_path: Path,
) -> None:
    adapted(seed=5).save_pretrained(tmp_path)
    inner = adapted()
    rgo, optimizer = attached(inner)
    learn(rgo, optimizer, range(1))
    before = trained(inner)
    inner.load_adapter(str(tmp_path), adapter_name="reference", is_trainable=False)
    assert trained(inner) == before
    kept = weights_of(inner)
    learn(rgo, optimizer, range(1, 2))
    for name, weight in weights_of(inner).items():
        assert torch.equal(weight, kept[name]) == (name not in before), name


def test_an_adapter_loaded_to_be_trained_after_attaching_is_an_error(
    tmp_path: Path,
) -> None:
    adapted(seed=5).save_pretrained(tmp_path)
    inner = adapted()
    rgo, optimizer = attached(inner)
    learn(rgo, optimizer, range(1))
    inner.load_adapter(str(tmp_path), adapter_name="second", is_trainable=True)
    with pytest.raises(RuntimeError, match=r"lora_A\.second.* not there when RGO was"):
        rgo.begin_task()


@torch.no_grad()
def test_two_adapters_that_act_together_are_both_encoded_and_protected() -> None:
    inner = peft.get_peft_model(bert(), configuration(modules_to_save=None))
    inner.add_adapter("second", configuration(modules_to_save=None, r=2))
    inner.base_model.set_adapter(["default", "second"])
    rgo, optimizer = attached(inner)
    both = {f"model.{name}" for name in trained(inner)}
    assert set(rgo.projector.parameters) == both
    with torch.enable_grad():
        learn(rgo, optimizer, range(3))
    assert set(rgo.projector.projections) == both
    assert rgo.encoder is not None
    assert {f"{name}.weight" for name in rgo.encoder.widths} == both
    words, _ = batch(9)
    for task in range(3):
        with rgo.task(task):
            expected = rgo.model.eval()(words)
        torch.testing.assert_close(rgo.merge_for(task).eval()(words), expected)
