"""A projector that is taken off, a model that is dropped, and one that is copied."""

import copy
import gc
import weakref

import pytest
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    gradients_of,
    hooks_of,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
    wide_mlp,
)
from torch_backend.projecting import DAMPING, consolidated

from rgo_torch import GradientProjector, second_moments


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_after_detach_model_and_optimizer_are_plain(project: str) -> None:
    model, plain = mlp(), mlp()
    optimizer = sgd(model)
    consolidated(model, optimizer, project=project).detach()
    assert not list(hooks_of(model))
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    train(model, optimizer, batches())
    train(plain, sgd(plain), batches())
    assert_same(weights_of(model), weights_of(plain))


def test_a_forward_that_was_taken_while_attached_is_plain_after_detach() -> None:
    """As accelerate's hooks take it, and whatever calls what it found."""
    model, plain = wide_mlp(), wide_mlp()
    few = batch(4)
    projector = consolidated(model, sgd(model))
    found = model[0].forward
    model[0].forward = lambda x: found(x)
    projector.detach()
    expected = gradients_of(plain, lambda: loss_of(plain, *few))
    assert_same(gradients_of(model, lambda: loss_of(model, *few)), expected)


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_a_parameter_frozen_at_first_is_projected_once_it_trains(project: str) -> None:
    model, reference = mlp(), mlp()
    model[0].weight.requires_grad_(False)
    for candidate in (model, reference):
        optimizer = sgd(candidate)
        projector = GradientProjector(candidate, optimizer, project=project)
        assert candidate[0].weight.requires_grad == (candidate is reference)
        moments = second_moments(reference, batches(seed=90))
        projector.consolidate(moments, damping=DAMPING)
        candidate[0].weight.requires_grad_(True)
        train(candidate, optimizer, batches())
    assert_same(weights_of(model), weights_of(reference))


def test_a_dropped_model_is_freed() -> None:
    model = mlp()
    optimizer = sgd(model)
    projector = consolidated(model, optimizer)
    train(model, optimizer, batches(1))
    references = [weakref.ref(model), weakref.ref(model[0].weight)]
    del model, optimizer, projector
    gc.collect()
    assert not any(reference() for reference in references)


def test_a_copy_of_the_model_trains_plainly_and_gathers_nothing() -> None:
    model = wide_mlp()
    projector = consolidated(model)
    copied, plain = copy.deepcopy(model), wide_mlp()
    found = gradients_of(copied, lambda: loss_of(copied, *batch(4)))
    assert_same(found, gradients_of(plain, lambda: loss_of(plain, *batch(4))))
    assert not any(module.__dict__["forward"].sent.parts for module in model[::2])
    assert projector.projections
