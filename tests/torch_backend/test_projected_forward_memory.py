"""What a projected forward leaves behind: copies, hooks and gathered gradients."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch_backend.factors import NAME, ROWS, assert_projected, projected_model
from torch_backend.nets import (
    CLASSES,
    FEATURES,
    batch,
    gradients_of,
    images,
    loss_of,
    sgd,
    wide_mlp,
)
from torch_backend.tolerance import assert_far, assert_near

from rgo_torch import GradientProjector, second_moments
from rgo_torch.projecting.projected_forward import ProjectedForward


def test_a_copy_of_the_model_has_plain_layers() -> None:
    model, projector = projected_model()
    copied = copy.deepcopy(model)
    with projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, *batch(ROWS)))
    found = gradients_of(copied, lambda: loss_of(copied, *batch(ROWS)))
    for name, gradient in plain.items():
        assert_near(found[name], gradient)
    with torch.no_grad():
        copied[2].weight.zero_()
        assert_far(copied(batch(ROWS)[0]), model(batch(ROWS)[0]))


def test_a_pickled_layer_has_the_forward_of_its_class() -> None:
    layer = nn.Linear(3, 200)
    projector = GradientProjector(nn.Sequential(layer), sgd(layer))
    x = torch.randn(2, 3)
    moments = second_moments(nn.Sequential(layer), [(x, torch.zeros(2).long())])
    projector.consolidate(moments, damping=0.001)
    loaded = pickle.loads(pickle.dumps(layer))
    assert loaded.forward.__self__ is loaded
    with torch.no_grad():
        loaded.weight.zero_()
        assert_far(loaded(x), layer(x))


class Halved(nn.Linear):
    """A layer with a forward of its own, and a parameter that RGO does not know."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.shift = nn.Parameter(torch.ones(outputs))

    def forward(self, input: Tensor, factor: float = 0.5) -> Tensor:
        return factor * super().forward(input) + self.shift


def test_a_subclass_keeps_its_own_forward_and_its_weight_is_projected() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 40), nn.ReLU(), Halved(40, CLASSES))
    x, y = batch(2)
    expected = model(x)
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(second_moments(model, [batch(64)]), damping=0.001)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    assert model[2](torch.zeros(2, 40), factor=0.0).sum() == 2 * CLASSES
    loss_of(model, x, y).backward()
    assert model[2].shift.grad is not None
    model.zero_grad()
    with projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, x, y))
    projected = gradients_of(model, lambda: loss_of(model, x, y))
    P = projector.projections["2.weight"]
    assert_near(projected["2.weight"], plain["2.weight"] @ P, scale=50.0)
    assert "2.shift" in projector.projections


def test_a_forward_put_on_a_convolution_that_pads_is_told_from_its_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(96, CLASSES))
    plain = model[0].forward
    model[0].forward = lambda x: plain(functional.pad(x, (1, 1, 1, 1)))
    with pytest.raises(
        ValueError, match=r"0: expected 4 positions, .*, got 16: the for"
    ):
        second_moments(model, [images()])


def test_a_hook_that_was_on_the_weight_before_acts_on_the_plain_gradient() -> None:
    model = wide_mlp()
    model[2].weight.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(second_moments(model, [batch(64)]), damping=0.001)
    with projector.paused():
        clamped = gradients_of(model, lambda: loss_of(model, *batch(ROWS)))[NAME]
    assert clamped.abs().amax() <= 1e-3
    found = gradients_of(model, lambda: loss_of(model, *batch(ROWS)))[NAME]
    assert_near(found, clamped @ projector.projections[NAME], scale=1.0)


def test_a_detached_layer_has_its_own_forward_again() -> None:
    model, projector = projected_model()
    assert "forward" in model[2].__dict__
    projector.detach()
    assert "forward" not in model[2].__dict__


def gathered(model: nn.Module) -> int:
    """Count what layers have sent and no weight has taken."""
    forwards = [m.__dict__.get("forward") for m in model.modules()]
    found = [f for f in forwards if isinstance(f, ProjectedForward)]
    assert found
    return sum(len(forward.sent.parts) for forward in found)


def test_a_forward_pass_without_backward_leaves_nothing_alive() -> None:
    model, _ = projected_model()
    x, _ = batch(ROWS)
    logits = model(x)
    reference = StorageWeakRef(x.untyped_storage())
    del x
    assert not reference.expired()
    del logits
    assert reference.expired()
    assert not gathered(model)


def test_a_backward_pass_leaves_nothing_alive() -> None:
    model, _ = projected_model()
    x, y = batch(ROWS)
    loss = loss_of(model, x, y)
    reference = StorageWeakRef(x.untyped_storage())
    loss.backward()
    del x, loss
    assert reference.expired()
    assert not gathered(model)


def test_a_backward_pass_that_misses_the_weights_leaves_nothing() -> None:
    model, projector = projected_model()
    x, y = batch(ROWS)
    x.requires_grad_()
    torch.autograd.grad(loss_of(model, x, y), x)
    assert not gathered(model)
    loss = loss_of(model, x, y)
    torch.autograd.grad(loss, x, retain_graph=True)
    with projector.paused():
        loss.backward()
    assert not gathered(model)


def test_a_pass_over_the_inputs_does_not_stand_in_the_way(sent: list) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        x, y = batch(ROWS)
        x.requires_grad_()
        (towards,) = torch.autograd.grad(loss_of(model, x, y), x)
        return loss_of(model, (x + towards).detach(), y)

    assert_projected(model, projector, loss)
    assert len(sent) == 2


def test_frozen_weights_gather_nothing(sent: list) -> None:
    model, _ = projected_model()
    model[2].weight.requires_grad_(False)
    loss_of(model, *batch(ROWS)).backward()
    assert model[2].weight.grad is None
    assert not sent
    assert not gathered(model)


def test_what_a_pass_that_failed_has_sent_is_not_taken_by_the_next(sent: list) -> None:
    model, projector = projected_model()
    x, y = batch(ROWS)
    hidden = torch.tanh(model[2](model[0](x)))

    def fail(gradient: Tensor) -> None:
        raise RuntimeError("between the two uses")

    hidden.register_hook(fail)
    with pytest.raises(RuntimeError, match="between the two uses"):
        functional.cross_entropy(model[4](model[2](hidden)), y).backward()
    assert len(sent) == 1
    assert model[2].__dict__["forward"].sent.parts
    # A large batch sends nothing itself, and would take what is there.
    assert_projected(model, projector, lambda: loss_of(model, *batch(64)))
    model[2].__dict__["forward"].sent.parts.clear()
