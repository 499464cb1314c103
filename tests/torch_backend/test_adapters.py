"""Adapters learn task after task; what is frozen beside them is never touched."""

import contextlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import hooks_of, weights_of

from rgo_core import Relative, measured_damping

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
from torch_backend.adapted import QUERY, attached  # noqa: E402
from torch_backend.small_adapters import (  # noqa: E402
    LENGTH,
    WORDS,
    Logits,
    adamw,
    adapted,
    batch,
    bert,
    configuration,
    learn,
    take_steps,
)

import rgo_core  # noqa: E402
from rgo_torch import RGO, FeatureEncoder, find_layout, second_moments  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

HEAD = "model.base_model.model.classifier.modules_to_save.default"


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "bias of B": {"lora_bias": True},
    "biases": {"bias": "all"},
    "own biases": {"bias": "lora_only"},
    "embedding": {"target_modules": ["word_embeddings", "query"]},
    "every linear": {"target_modules": "all-linear"},
    "dropout": {"lora_dropout": 0.1},
}


@torch.no_grad()
def outputs(model: nn.Module, rgo: RGO, task: int, seed: int = 999) -> Tensor:
    model.eval()
    with rgo.task(task):
        return model(batch(seed)[0])


def order(width: int, task: int, name: str) -> Tensor:
    return torch.from_numpy(
        np.asarray(rgo_core.task_permutation(width, task=task, name=name, seed=7))
    )


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_all_that_is_trained_is_observed_and_nothing_else(options: Any) -> None:
    model = Logits(adapted(**options))
    rgo, optimizer = attached(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(rgo.projector.parameters) == trained
    before = weights_of(model)
    rgo.begin_task(0)
    take_steps(model, optimizer, 0)
    assert set(rgo.observe([batch()])) == trained
    for name, parameter in model.named_parameters():
        if name not in trained:
            assert parameter.grad is None
            assert torch.equal(parameter, before[name])
            assert not parameter.requires_grad


def test_the_layout_of_an_adapted_model_leaves_out_what_is_frozen() -> None:
    model = adapted()
    layout = find_layout(model)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert sorted(name for name, _ in layout.skipped) == sorted(frozen)
    assert {reason for _, reason in layout.skipped} == {"frozen beside adapters"}
    assert len(second_moments(Logits(model), [batch()])) == 10


def test_a_frozen_layer_with_a_trained_bias_protects_the_bias() -> None:
    model = Logits(adapted(bias="all"))
    moments = second_moments(model, [batch()], per="batch")
    name = f"{QUERY}.base_layer.bias"
    assert moments[name].matrix.shape == (16, 16)
    assert f"{QUERY}.base_layer.weight" not in moments


@pytest.mark.filterwarnings("ignore:this task closes")  # by design
def test_what_is_learned_first_is_kept_better_than_without() -> None:
    def drift(options: Any) -> float:
        model = Logits(adapted())
        rgo, optimizer = attached(model, encode=False, **options)
        learn(rgo, optimizer, range(1))
        words, _ = batch(0)
        before = model.eval()(words).detach()
        learn(rgo, optimizer, range(1, 2))
        return (model.eval()(words) - before).detach().norm().item()

    assert drift({"damping": 1e-6}) < 0.7 * drift({"damping": 1e9})


def test_what_a_b_and_the_head_take_in_is_in_the_order_of_the_task() -> None:
    model = Logits(adapted())
    FeatureEncoder(model, seed=7).set_task(2)
    seen: dict[str, Tensor] = {}
    names = (f"{QUERY}.lora_A.default", f"{QUERY}.lora_B.default", HEAD)
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.update(
                {name: args[0], f"{name} out": output}
            )
        )
    base: dict[str, Tensor] = {}
    model.get_submodule(f"{QUERY}.base_layer").register_forward_hook(
        lambda module, args, output: base.update(x=args[0])
    )
    model.get_submodule("model.base_model.model.bert.pooler").register_forward_hook(
        lambda module, args, output: base.update(pooled=output)
    )
    model(batch()[0])
    inner, rank, head = (
        order(w, 2, n) for w, n in zip((16, 3, 16), names, strict=True)
    )
    assert torch.equal(seen[names[0]], base["x"][..., inner])
    assert torch.equal(seen[names[1]], seen[f"{names[0]} out"][..., rank])
    assert torch.equal(seen[names[2]], base["pooled"][..., head])


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_an_encoding_changes_nothing_of_an_adapter_that_is_new(options: Any) -> None:
    model = adapted(**options).eval()
    words, _ = batch()
    plain = model.bert(words).last_hidden_state
    FeatureEncoder(model, seed=7).set_task(3)
    torch.testing.assert_close(model.bert(words).last_hidden_state, plain)
    assert not torch.equal(model(words).logits, model.classifier(plain[:, 0]))


def test_the_base_is_never_encoded() -> None:
    encoder = FeatureEncoder(adapted(target_modules="all-linear"))
    assert set(encoder.places.values()) == {"input"}
    assert all(".lora_" in n or ".modules_to_save." in n for n in encoder.widths)


def test_a_module_that_was_pretrained_can_be_excluded() -> None:
    model = adapted(modules_to_save=["classifier", "pooler"])
    pooler = "base_model.model.bert.pooler.modules_to_save.default.dense"
    encoder = FeatureEncoder(model)
    assert pooler in encoder.widths
    encoder.detach()
    assert pooler not in FeatureEncoder(model, unencoded=[pooler]).widths


def test_the_head_of_a_language_model_is_protected_and_not_encoded() -> None:
    config = transformers.GPT2Config(
        vocab_size=WORDS, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2
    )
    options = {"target_modules": ["c_attn"], "modules_to_save": ["lm_head"]}
    config.tie_word_embeddings = False
    model = adapted(
        transformers.GPT2LMHeadModel(config), fan_in_fan_out=True, **options
    )
    rgo, _ = attached(model)
    assert not any("lm_head" in name for name in rgo.encoder.widths)
    assert any("lm_head" in name for name in rgo.projector.parameters)


def test_convolutions_have_their_channels_encoded() -> None:
    base = nn.Sequential(nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 4)).double()
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=2, target_modules=["0"], modules_to_save=["2"])
    )
    rgo, optimizer = attached(model)
    assert list(rgo.encoder.widths.values()) == [6, 2, 16]
    x, y = torch.randn(5, 6, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    for task in range(2):
        rgo.begin_task(task)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        rgo.end_task([(x, y)])
    with rgo.task(1):
        expected = model(x)
    torch.testing.assert_close(rgo.merge_for(1)(x), expected)


def test_the_update_of_an_adaptive_optimizer_is_projected_beside_adapters() -> None:
    model = Logits(adapted())
    rgo, _ = attached(model)
    assert rgo.projector.project == "update"
    assert "the update is projected, not the gradient: AdamW adapts" in rgo.summary()
    assert rgo.damping == Relative(0.03)
    assert rgo.projector.normalize == "weights"


def test_the_rank_space_stays_open_for_new_tasks() -> None:
    model = Logits(adapted())
    rgo, optimizer = attached(model)
    learn(rgo, optimizer, range(4))
    projection = rgo.projector.projections[f"{QUERY}.lora_B.default.weight"]
    assert torch.trace(projection).item() == pytest.approx(3)


def test_what_is_asked_for_is_done_beside_adapters_too() -> None:
    model = Logits(adapted())
    with pytest.warns(UserWarning, match="undoes a projection"):
        rgo = RGO(
            model,
            adamw(model, lr=1e-3),
            project="gradient",
            damping=0.1,
            normalize="none",
        )
    assert rgo.projector.project == "gradient"
    assert rgo.projector.normalize == "none"
    assert rgo.damping == 0.1
    rgo.detach()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    plain = RGO(model, sgd, observe=partial(second_moments, curvature="exact"))
    assert plain.projector.project == "gradient"
    assert plain.damping == measured_damping("sample", "mean")
    assert "the update is projected" not in plain.summary()


def test_the_summary_counts_what_is_frozen_in_one_line() -> None:
    rgo, _ = attached(Logits(adapted()))
    table = rgo.summary()
    assert table.startswith("100.0 % of what is trained is protected\n")
    assert "not projected: 41 parameters: frozen beside adapters" in table
    assert table.count(" inputs ") == 9


def test_the_gradient_is_projected_for_plain_sgd() -> None:
    model = Logits(adapted())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rgo = RGO(model, optimizer, seed=7)
    learn(rgo, optimizer, range(2))
    projection = rgo.projector.projections[f"{HEAD}.bias"]
    rgo.begin_task(2)
    words, labels = batch(5)
    gradients = []
    for context in (rgo.projector.paused(), contextlib.nullcontext()):
        optimizer.zero_grad()
        with context:
            nn.functional.cross_entropy(model(words), labels).backward()
        gradients.append(model.get_parameter(f"{HEAD}.bias").grad.clone())
    torch.testing.assert_close(gradients[1], projection @ gradients[0])


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_nothing(reentrant: bool) -> None:
    def learned(checkpointed: bool) -> dict[str, Tensor]:
        base = bert()
        if checkpointed:
            base.gradient_checkpointing_enable({"use_reentrant": reentrant})
            base.enable_input_require_grads()
        model = Logits(adapted(base))
        rgo, optimizer = attached(model)
        learn(rgo, optimizer, range(2))
        return weights_of(model)

    torch.testing.assert_close(learned(True), learned(False))


def test_a_base_in_half_precision_serves() -> None:
    model = Logits(adapted(bert(dtype=torch.bfloat16)))
    with pytest.warns(UserWarning, match="^model.*classifier.*: trained in bfloat16"):
        rgo, optimizer = attached(model)
    learn(rgo, optimizer, range(2))
    assert {p.dtype for p in model.parameters() if p.requires_grad} >= {torch.float32}
    merged = rgo.merge_for(1).eval()
    assert torch.isfinite(merged(batch()[0])).all()


def test_another_adapter_that_is_not_active_is_left_alone() -> None:
    inner = adapted()
    inner.add_adapter("other", configuration())
    model = Logits(inner)
    rgo, optimizer = attached(model)
    before = weights_of(model)
    learn(rgo, optimizer, range(2))
    assert not any("other" in name for name in rgo.projector.parameters)
    for name, parameter in model.named_parameters():
        if "other" in name:
            assert torch.equal(parameter, before[name])


def test_detaching_leaves_no_hook() -> None:
    model = Logits(adapted())
    rgo, _ = attached(model)
    rgo.detach()
    assert not list(hooks_of(model))


@pytest.mark.parametrize("task", [0, 1])
def test_plain_peft_gives_the_first_task_s_outputs_exactly(
    task: int, tmp_path: Path
) -> None:
    model = Logits(adapted())
    rgo, optimizer = attached(model)
    learn(rgo, optimizer, range(2))
    model.model.save_pretrained(tmp_path)
    plain = Logits(peft.PeftModel.from_pretrained(bert(), tmp_path)).eval()
    same = torch.equal(plain(batch(999)[0]), outputs(model, rgo, task))
    assert same == (task == 0)


CONTINUE = """
import sys, torch, peft
from torch_backend.small_adapters import *
from rgo_torch import RGO
model = Logits(peft.PeftModel.from_pretrained(bert(), sys.argv[1], is_trainable=True))
optimizer = adamw(model)
rgo = RGO(model, optimizer, seed=7)
state = torch.load(sys.argv[1] + "/rgo.pt", weights_only=True)
rgo.load_state_dict(state["rgo"])
optimizer.load_state_dict(state["optimizer"])
learn(rgo, optimizer, range(1, 3))
torch.save(dict(model.named_parameters()), sys.argv[1] + "/end.pt")
"""


def test_a_fresh_process_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    model = Logits(adapted())
    rgo, optimizer = attached(model)
    learn(rgo, optimizer, range(1))
    model.model.save_pretrained(tmp_path)
    state = {"rgo": rgo.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, tmp_path / "rgo.pt")
    tests = str(Path(__file__).parents[1])  # pytest's own path is not inherited
    paths = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", CONTINUE, str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": paths})
    learn(rgo, optimizer, range(1, 3))
    found = torch.load(tmp_path / "end.pt")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, found[name]), name
