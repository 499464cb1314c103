"""What factors reach a weight is projected once, and nothing outlives a pass."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch_backend.factors import ROWS, assert_projected, projected_model
from torch_backend.nets import (
    FEATURES,
    batch,
    conv_net,
    gradients_of,
    images,
    loss_of,
    sgd,
    wide_mlp,
)
from torch_backend.tolerance import assert_near

from rgo_torch import RGO, GradientProjector, second_moments


def test_a_small_batch_is_projected_by_its_factors(sent: list) -> None:
    model, projector = projected_model()
    assert_projected(model, projector, lambda: loss_of(model, *batch(ROWS)))
    assert len(sent) == 1


def test_factors_serve_in_an_encoded_model(sent: list) -> None:
    model = wide_mlp()
    rgo = RGO(model, sgd(model), damping=0.001)
    for task in range(2):
        rgo.begin_task(task)
        rgo.end_task([batch(64, task)])
    assert rgo.encoder.task_index == 1
    assert_projected(model, rgo.projector, lambda: loss_of(model, *batch(ROWS)))
    assert len(sent) == 1


def test_a_large_batch_is_projected_directly(sent: list) -> None:
    model, projector = projected_model()
    assert_projected(model, projector, lambda: loss_of(model, *batch(64)))
    assert not sent


def test_a_penalty_on_the_weights_is_projected_too(sent: list) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        penalty = sum((p**2).sum() for p in model.parameters())
        return loss_of(model, *batch(ROWS)) + 0.1 * penalty

    assert_projected(model, projector, loss)
    assert len(sent) == 1


def test_a_penalty_on_one_column_is_projected_too(sent: list) -> None:
    model, projector = projected_model()
    for column in (0, 17, 39):

        def loss(column: int = column) -> Tensor:
            return (
                loss_of(model, *batch(ROWS)) + (model[2].weight[:, column] ** 2).sum()
            )

        assert_projected(model, projector, loss)
    assert len(sent) == 3


def test_a_penalty_that_comes_and_goes_is_always_projected(sent: list) -> None:
    model, projector = projected_model()
    for step in range(4):

        def loss(step: int = step) -> Tensor:
            penalty = (model[2].weight ** 2).sum() if step == 2 else 0
            return loss_of(model, *batch(ROWS, step)) + penalty

        assert_projected(model, projector, loss)
    assert len(sent) == 4


def test_a_layer_called_twice_is_projected_twice(sent: list) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        x, y = batch(ROWS)
        hidden = torch.tanh(model[2](model[2](model[0](x))))
        return functional.cross_entropy(model[4](hidden), y)

    assert_projected(model, projector, loss)
    assert len(sent) == 2


def test_a_second_use_of_the_weight_is_projected_too(sent: list) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        x, y = batch(ROWS)
        hidden = torch.relu(model[2](torch.relu(model[0](x))))
        hidden = torch.relu(functional.linear(hidden, model[2].weight))
        return functional.cross_entropy(model[4](hidden), y)

    assert_projected(model, projector, loss)
    assert len(sent) == 1


def test_a_pause_between_the_passes_leaves_the_gradient_plain(sent: list) -> None:
    model, projector = projected_model()
    with projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, *batch(ROWS)))
    model.zero_grad()
    loss = loss_of(model, *batch(ROWS))
    with projector.paused():
        loss.backward()
    for name, parameter in model.named_parameters():
        assert_near(parameter.grad, plain[name])
    assert not sent


@pytest.mark.parametrize("bias", [True, False])
def test_one_sample_without_a_batch_axis_is_projected(bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 40, bias=bias))
    projector = GradientProjector(model, sgd(model))
    moments = second_moments(model, [batch(64)])
    projector.consolidate(moments, damping=0.001)
    x = torch.randn(FEATURES)
    alone = gradients_of(model, lambda: model(x).square().sum())
    batched = gradients_of(model, lambda: model(x[None]).square().sum())
    for name, gradient in batched.items():
        assert_near(alone[name], gradient)


def test_a_batch_of_no_samples_passes_through_in_both_directions() -> None:
    for model, shape in ((wide_mlp(), (0, FEATURES)), (conv_net(), (0, 3, 4, 4))):
        projector = GradientProjector(model, sgd(model))
        full = batch(64) if len(shape) == 2 else images(64)
        empty = torch.zeros(shape), torch.zeros(0, dtype=torch.int64)
        moments = second_moments(model, [full, empty])
        alone = second_moments(model, [full])
        projector.consolidate(moments, damping=0.001)
        for name, moment in moments.items():
            assert int(moment.count) == 64
            torch.testing.assert_close(moment.matrix, alone[name].matrix)
        model(empty[0]).sum().backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            assert not bool(parameter.grad.any())


@pytest.mark.parametrize("reentrant", [False, True])
def test_factors_serve_under_activation_checkpointing(
    reentrant: bool, sent: list
) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        x, y = batch(ROWS)
        x.requires_grad_()  # reentrant checkpointing wants one
        logits = checkpoint(model, x, use_reentrant=reentrant)
        return functional.cross_entropy(logits, y)

    assert_projected(model, projector, loss)
    assert len(sent) == 1


def test_an_operation_in_place_on_the_output_changes_nothing(sent: list) -> None:
    model, projector = projected_model()
    model[1] = model[3] = nn.ReLU(inplace=True)
    assert_projected(model, projector, lambda: loss_of(model, *batch(ROWS)))
    assert len(sent) == 1


def test_below_float32_a_gradient_is_projected_directly(sent: list) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss_of(model, *batch(ROWS))
        return found + 1e-3 * (model[2].weight ** 2).sum()

    assert_projected(model, projector, loss)
    assert not sent


def test_a_gradient_of_a_projected_gradient_is_the_direct_one(sent: list) -> None:
    model, _ = projected_model()
    found = []
    for rows in (ROWS, 64):
        x, y = (tensor[:1].repeat_interleave(rows, 0) for tensor in batch(ROWS))
        (first,) = torch.autograd.grad(
            loss_of(model, x, y), model[2].weight, create_graph=True
        )
        found.append(torch.autograd.grad((first**2).sum(), model[0].weight)[0])
    assert_near(found[0], found[1], amplification=64)
    assert sent


def test_inputs_may_be_given_by_keyword(sent: list) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        x, y = batch(ROWS)
        hidden = torch.relu(model[2](input=torch.relu(model[0](x))))
        return functional.cross_entropy(model[4](hidden), y)

    assert_projected(model, projector, loss)
    assert len(sent) == 1


def test_other_parameters_in_a_functional_call_are_those_that_count(sent: list) -> None:
    model, _ = projected_model()
    others = {name: 2 * p.detach() for name, p in model.named_parameters()}
    for p in others.values():
        p.requires_grad_()
    x, y = batch(ROWS)
    logits = torch.func.functional_call(model, others, (x,))
    functional.cross_entropy(logits, y).backward()
    plain = wide_mlp()
    with torch.no_grad():
        for p in plain.parameters():
            p.mul_(2)
    expected = gradients_of(plain, lambda: loss_of(plain, x, y))
    assert torch.equal(logits, plain(x))
    for name, p in others.items():
        assert_near(p.grad, expected[name])
    assert not sent
