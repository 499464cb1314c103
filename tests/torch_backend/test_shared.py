"""Adapters that take in the same features share one second moment."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_backend.nets import weights_of

pytest.importorskip("peft")
pytest.importorskip("transformers")
from torch_backend.small_adapters import (
    Logits,
    adamw,
    adapted,
    batch,
    learn,
    take_steps,
)

import rgo_core
from rgo_torch import RGO, FeatureEncoder, second_moments

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TARGETS = ["query", "key", "value"]
GROUPS = [("query", "key", "value")]
LAYER = "model.base_model.model.bert.encoder.layer.0.attention.self"
FIRST, *OTHERS = (f"{LAYER}.{name}.lora_A.default" for name in TARGETS)
EVERY = {"target_modules": "all-linear"}  # classification's dense layers too


def model_of(**options: Any) -> Logits:
    return Logits(adapted(target_modules=TARGETS, **options))


def attached(model: Logits, **options: Any) -> tuple[RGO, torch.optim.AdamW]:
    optimizer = adamw(model)
    return RGO(model, optimizer, **{"seed": 7} | options), optimizer


@pytest.mark.parametrize("reduce", ["mean", "rms", None])
@pytest.mark.parametrize("per", ["sample", "position", "batch"])
def test_a_shared_moment_is_the_sum_of_those_apart(per: Any, reduce: Any) -> None:
    model = model_of()
    take_steps(model, adamw(model), 0)  # away from B = 0
    FeatureEncoder(model, seed=7, shared_inputs=GROUPS).set_task(2)
    options = {"per": per, "reduce": reduce}
    apart = second_moments(model, [batch(), batch(1)], **options)
    shared = second_moments(model, [batch(), batch(1)], shared_inputs=GROUPS, **options)
    members = {f"{name}.weight" for name in OTHERS}
    assert not members & set(shared)
    own = [f"{FIRST}.weight", *sorted(members)]
    total = sum(apart[name].matrix for name in own)
    found = shared[own[0]].matrix
    assert found.abs().max() > 0
    torch.testing.assert_close(found, total, rtol=1e-12, atol=1e-15)
    assert int(shared[own[0]].count) == sum(int(apart[name].count) for name in own)
    for name in set(shared) - {own[0]}:
        if LAYER in name:  # B and the head are as they were
            assert torch.equal(shared[name].matrix, apart[name].matrix)


def test_layers_that_share_a_moment_have_one_permutation() -> None:
    model = model_of()
    apart = FeatureEncoder(model, seed=7)
    apart.set_task(1)
    expected = apart.encodings[FIRST].permutation.clone()
    apart.detach()
    encoder = FeatureEncoder(model, seed=7, shared_inputs=GROUPS)
    encoder.set_task(1)
    for name in (FIRST, *OTHERS):
        assert torch.equal(encoder.encodings[name].permutation, expected)
    second = encoder.encodings[FIRST.replace("layer.0", "layer.1")]
    assert not torch.equal(second.permutation, expected)


def test_a_shared_projection_acts_on_all_that_share_it() -> None:
    def trained(shared: bool) -> dict[str, Tensor]:
        model = model_of()
        options = {"shared_inputs": GROUPS} if shared else {}
        rgo, optimizer = attached(model, encode=False, **options)
        rgo.begin_task(0)
        take_steps(model, optimizer, 0)
        moments = rgo.observe([batch(), batch(1)])
        if not shared:
            for layer in (LAYER, LAYER.replace("layer.0", "layer.1")):
                names = [f"{layer}.{t}.lora_A.default.weight" for t in TARGETS]
                total = rgo_core.merge_moments(moments[names[0]], moments[names[1]])
                total = rgo_core.merge_moments(total, moments[names[2]])
                moments |= dict.fromkeys(names, total)
        rgo.consolidate(moments)
        rgo.begin_task(1)
        take_steps(model, optimizer, 1)
        return weights_of(model)

    one, other = trained(shared=True), trained(shared=False)
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sketch", [{}, {"max_features": 8, "sketch_rows": 4}])
def test_a_shared_state_goes_on_to_the_same_numbers(sketch: Any) -> None:
    options = {"shared_inputs": GROUPS, **sketch}
    model = model_of()
    rgo, optimizer = attached(model, **options)
    learn(rgo, optimizer, range(2))
    state = rgo.state_dict()
    assert not any(f"{name}.weight" in state["parameters"] for name in OTHERS)
    again = model_of()
    again.load_state_dict(model.state_dict())
    second, own = attached(again, **options)
    own.load_state_dict(optimizer.state_dict())
    second.load_state_dict(state)
    for each, steps in ((rgo, optimizer), (second, own)):
        learn(each, steps, range(2, 3))
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, weights_of(again)[name]), name


def test_a_state_of_moments_apart_is_not_taken_for_a_shared_one() -> None:
    rgo, _ = attached(model_of(), shared_inputs=GROUPS)
    apart, _ = attached(model_of())
    with pytest.raises(ValueError, match="the state's encoding is not this one's"):
        rgo.load_state_dict(apart.state_dict())
    with pytest.raises(ValueError, match="the state's encoding is not this one's"):
        apart.load_state_dict(rgo.state_dict())


@torch.no_grad()
def test_merging_undoes_the_shared_permutation() -> None:
    model = model_of()
    rgo, optimizer = attached(model, shared_inputs=GROUPS)
    with torch.enable_grad():
        learn(rgo, optimizer, range(3))
    words, _ = batch(9)
    for task in range(3):
        with rgo.task(task):
            expected = model.eval()(words)
        found = rgo.merge_for(task).eval()(words)
        torch.testing.assert_close(found, expected)


def test_the_summary_counts_a_shared_state_once() -> None:
    rows = [
        line.split()
        for line in attached(model_of(), shared_inputs=GROUPS)[0].summary().splitlines()
    ]
    kept = {row[0]: row[3:] for row in rows if len(row) > 4}
    assert kept[f"{FIRST}.weight"][0] == "full"
    for name in OTHERS:
        assert kept[f"{name}.weight"] == ["shared", "inputs", "0", "B"]


def test_adapters_with_other_inputs_than_a_group_says_are_an_error() -> None:
    model = Logits(adapted(**EVERY))
    named = [("attention.self.query", "attention.output.dense")]
    rgo, optimizer = attached(model, shared_inputs=named)
    rgo.begin_task()
    take_steps(model, optimizer, 0)
    before = weights_of(model)
    with pytest.raises(
        ValueError, match=r"output\.dense\S+ to take in what .*query\S+ does"
    ):
        rgo.end_task([batch()])
    assert rgo.finished == 0
    assert all(torch.equal(w, before[n]) for n, w in weights_of(model).items())


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ("query", TypeError, r"must be groups of names.*got 'query'"),
        (["query", "value"], TypeError, r"must be groups of names.*got \['query'"),
        ([("query",)], ValueError, r"at least two names, got \('query',\)"),
        (
            [("q_proj", "v_proj")],
            ValueError,
            r"end in \['q_proj', 'v_proj'\] and stand in one module, got no two",
        ),
        (
            [("query", "value"), ("value", "key")],
            ValueError,
            r"value\.lora_A\.default is in two groups",
        ),
    ],
)
def test_groups_that_are_none_are_refused(
    groups: Any, error: type[Exception], message: str
) -> None:
    model = model_of()
    with pytest.raises(error, match=message):
        attached(model, shared_inputs=groups)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_layers_of_different_widths_cannot_share() -> None:
    model = Logits(adapted(**EVERY))
    named = [("intermediate.dense", "output.dense")]
    with pytest.raises(ValueError, match=r"layers with as many inputs, got .*: 24"):
        attached(model, shared_inputs=named)


def test_a_generator_of_groups_serves() -> None:
    rgo, _ = attached(model_of(), shared_inputs=(group for group in GROUPS))
    assert rgo.encoder is not None
    assert set(rgo.encoder.shared) >= set(OTHERS)
