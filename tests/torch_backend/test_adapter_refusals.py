"""Adapters that RGO refuses, and what it notices of them later."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
from torch_backend.adapted import QUERY, attached  # noqa: E402
from torch_backend.small_adapters import (  # noqa: E402
    Logits,
    adamw,
    adapted,
    batch,
    bert,
    configuration,
    take_steps,
)

from rgo_torch import RGO  # noqa: E402
from rgo_torch.adapters.lora import find_adapters  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_an_adapter_switched_in_the_middle_of_a_task_is_an_error() -> None:
    inner = adapted()
    inner.add_adapter("other", configuration())
    model = Logits(inner)
    rgo, optimizer = attached(model)
    rgo.begin_task(0)
    take_steps(model, optimizer, 0)
    inner.set_adapter("other")
    message = r"active adapters \['default'\], now there are \['other'\]"
    with pytest.raises(RuntimeError, match=message):
        model.train()(batch()[0])
    with pytest.raises(RuntimeError, match=message):
        rgo.end_task([batch()])
    with pytest.raises(RuntimeError, match=message):
        rgo.merge_for(0)
    inner.set_adapter("default")
    rgo.end_task([batch()])


def test_an_adapter_added_and_trained_after_attaching_is_an_error() -> None:
    inner = adapted(modules_to_save=None)
    rgo, _ = attached(inner)
    inner.add_adapter("late", configuration(modules_to_save=None))
    rgo.begin_task(0)  # it is not active yet
    inner.base_model.set_adapter(["default", "late"])
    with pytest.raises(RuntimeError, match=r"now there are \['default', 'late'\]"):
        rgo.begin_task(0)


def test_a_frozen_parameter_that_thaws_is_named() -> None:
    model = Logits(adapted())
    rgo, _ = attached(model)
    model.get_submodule(f"{QUERY}.base_layer").requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"query\.base_layer\.bias, .*frozen when"):
        rgo.begin_task(0)


def test_adapters_that_were_taken_out_are_missed() -> None:
    inner = adapted()
    rgo, _ = attached(Logits(inner))
    rgo.model.model = inner.unload()
    with pytest.raises(RuntimeError, match="now there are \\[\\]"):
        rgo.begin_task(0)


def test_merged_adapters_are_an_error_that_names_the_way_out() -> None:
    model = Logits(adapted())
    rgo, _ = attached(model)
    rgo.begin_task(0)
    model.model.merge_adapter()
    with pytest.raises(RuntimeError, match=r"\['default'\] are merged.*merge_for"):
        model(batch()[0])
    with pytest.raises(ValueError, match="expected adapters that are not merged"):
        RGO(model, adamw(model))
    model.model.unmerge_adapter()
    model(batch()[0])


@pytest.mark.parametrize("head", [["classifier"], None])
def test_adapters_that_are_merged_and_taken_out_are_an_error(head: Any) -> None:
    model = adapted(modules_to_save=head)
    rgo, _ = attached(Logits(model), encode=head is not None)
    rgo.begin_task(0)
    merged = rgo.merge_for(0)
    assert merged(batch()[0]).isfinite().all()
    taken_out = model.merge_and_unload()
    with pytest.raises(RuntimeError, match=r"taken out of the model.*merge_for\(task"):
        taken_out(batch()[0])
    rgo.detach()
    taken_out(batch()[0])


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (
            "peft.tuners.lora.bnb",
            "Linear4bit",
            "not quantized, got .*Linear4bit",
        ),
        ("elsewhere", "Own", r"Linear, Conv1D, convolution or Embedding, got .*\.Own"),
    ],
)
def test_a_lora_layer_that_rgo_does_not_know_is_refused_by_name(
    module: str, name: str, message: str
) -> None:
    model = adapted()
    layer = model.base_model.model.bert.encoder.layer[0].attention.self.query
    layer.__class__ = type(name, (type(layer),), {"__module__": module})
    with pytest.raises(ValueError, match=message):
        find_adapters(model)


def test_another_variant_of_lora_is_refused_by_name() -> None:
    convolution = nn.Sequential(nn.Conv2d(3, 4, 3))
    options = {"target_modules": ["0"], "use_dora": True}
    model = peft.get_peft_model(convolution, peft.LoraConfig(r=2, **options))
    with pytest.raises(ValueError, match="or DoRA of a Linear, got DoraConv2d"):
        find_adapters(model)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            peft.IA3Config(target_modules=["query"], feedforward_modules=[]),
            "got a module",
        ),
        (
            peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2),
            "got one without",
        ),
    ],
)
def test_other_methods_of_peft_are_refused(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_adapters(peft.get_peft_model(bert(), config))


def test_adapters_that_took_over_pretrained_weights_are_not_encoded() -> None:
    model = adapted(bert(dtype=torch.float32), init_lora_weights="pissa")
    with pytest.raises(ValueError, match="init_lora_weights='pissa'"):
        RGO(model, adamw(model))
    assert RGO(model, adamw(model), encode=False).encoder is None


def test_adapters_that_are_frozen_are_refused_with_the_way_out(tmp_path: Path) -> None:
    adapted().save_pretrained(tmp_path)
    model = peft.PeftModel.from_pretrained(bert(), tmp_path)
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(ValueError, match=r"frozen too.*is_trainable=True"):
        RGO(model, optimizer)
