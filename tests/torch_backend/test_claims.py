"""Two of RGO on the same parameters, or encodings, are refused while both are there."""

import copy
import gc
import warnings
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch_backend.nets import assert_same, batches, mlp, sgd, train, weights_of

from rgo_torch import RGO, FeatureEncoding, GradientProjector

TAKEN = "expected a model that nothing of rgo_torch is attached to"


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def attached(model: nn.Module) -> RGO:
    return RGO(model, adam(model), encode=False)


def with_trunk(trunk: nn.Module) -> nn.Module:
    return nn.Sequential(trunk, nn.ReLU(), nn.Linear(8, 4))


def test_a_second_rgo_with_another_optimizer_is_refused_until_detach() -> None:
    model = mlp()
    first = attached(model)
    for again in (attached, lambda model: GradientProjector(model, sgd(model))):
        with pytest.raises(ValueError, match=f"0.weight: {TAKEN}"):
            again(model)
    first.begin_task(0)  # it is as it was
    first.end_task(batches())
    first.detach()
    attached(model).begin_task(0)


def test_models_that_share_a_part_are_not_attached_to_both() -> None:
    trunk = nn.Linear(12, 8)
    first = attached(with_trunk(trunk))
    other = with_trunk(trunk)
    with pytest.raises(ValueError, match=f"0.weight: {TAKEN}"):
        attached(other)
    RGO(other, adam(other), encode=False, protect=["2"]).begin_task(0)
    assert first.projector.parameters["0.weight"].tensor is trunk.weight


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: mlp()])
def test_a_copy_of_the_model_is_free(
    duplicate: Callable[[nn.Module], nn.Module],
) -> None:
    model = mlp()
    first = attached(model)
    second = attached(duplicate(model))
    assert first.model is not second.model


def test_what_is_gone_holds_nothing_and_keeps_nothing() -> None:
    model = mlp()
    rgo = attached(model)
    gone = weakref.ref(rgo.projector)
    del rgo
    assert gone() is None  # by its references alone
    attached(model).detach()
    weight = weakref.ref(model[0].weight)
    del model
    gc.collect()
    assert weight() is None


def test_an_attachment_that_failed_holds_nothing() -> None:
    parts = nn.BatchNorm1d(8), FeatureEncoding(8), nn.Linear(8, 4)
    model = nn.Sequential(nn.Linear(12, 8), *parts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="running statistics"):
            RGO(model, adam(model), statistics="running")
    RGO(model, adam(model)).begin_task(0)


class Marked(nn.Module):
    def __init__(self, encoding: FeatureEncoding) -> None:
        super().__init__()
        self.body, self.encoding = nn.Linear(12, 8), encoding
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoding(self.body(x)).relu())
        return logits


def test_an_encoding_of_the_models_own_has_one_encoder() -> None:
    shared = FeatureEncoding(8)
    model, other = Marked(shared), Marked(shared)
    rgo = RGO(model, adam(model))
    rgo.begin_task(0)
    rgo.end_task(batches())
    rgo.begin_task(1)
    order = shared.permutation.clone()
    with pytest.raises(ValueError, match=f"encoding: {TAKEN}"):
        RGO(other, adam(other), seed=1)
    assert torch.equal(shared.permutation, order)
    assert not shared.is_identity
    RGO(other, adam(other), encode=False).detach()
    twin = copy.deepcopy(model)
    RGO(twin, adam(twin)).detach()
    rgo.detach()
    RGO(other, adam(other), seed=1).begin_task(0)


def test_a_model_that_was_held_trains_as_a_plain_one() -> None:
    model, plain = mlp(), mlp()
    attached(model).detach()
    for each in (model, plain):
        train(each, sgd(each), batches())
    assert_same(weights_of(model), weights_of(plain))
