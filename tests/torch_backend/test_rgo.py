"""Tasks begin, end and come back; whatever fails changes nothing."""

import copy
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.learning import learn, learner
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    hooks_of,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
)
from torch_backend.oracle import NumpyMLP
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_core import Relative
from rgo_core.damping import Damping
from rgo_torch import RGO, second_moments

STEPS = 50


@pytest.mark.parametrize("size", [2, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fifty_projected_steps_equal_numpy(dtype: torch.dtype, size: int) -> None:
    seed, damping = 5, 0.05
    model = mlp().to(dtype)
    plain, optimizer = NumpyMLP(model), sgd(model)
    scaled = {"normalize": "weights"}  # as the paper's
    rgo = RGO(model, optimizer, seed=seed, damping=damping, **scaled)
    for task in range(3):
        rgo.begin_task(task)
        plain.encode(task, seed)
        steps = [(x.to(dtype), y) for x, y in batches(STEPS, size=size, seed=task)]
        train(model, optimizer, steps)
        for x, y in steps:
            plain.step(x.double().numpy(), y.numpy(), rate=0.1)
        x, y = (torch.cat(parts) for parts in zip(*steps[:5], strict=True))
        rgo.end_task([(x, y)])
        plain.consolidate(x.double().numpy(), y.numpy(), damping)
    found = weights_of(model)
    for name, expected in plain.parameters().items():
        assert_near(found[name], torch.from_numpy(expected), amplification=STEPS)
    for name, expected in plain.projections.items():
        P = rgo.projector.projections[name]
        condition = float(torch.linalg.cond(P.double()))
        assert_near(P, torch.from_numpy(expected), amplification=condition)


def test_without_a_second_task_training_is_plain_to_the_bit() -> None:
    model, rgo = learner()
    plain = mlp()
    rgo.begin_task(0)
    train(model, rgo.optimizer, batches(STEPS))
    train(plain, sgd(plain), batches(STEPS))
    assert_same(weights_of(model), weights_of(plain))


def test_a_later_task_forgets_less_than_without() -> None:
    x, y = (torch.cat(parts) for parts in zip(*batches(STEPS), strict=True))

    def forgotten(protected: bool) -> float:
        model, rgo = learner(damping=1e-4, encode=False)
        rgo.begin_task()
        train(model, rgo.optimizer, batches(STEPS))
        rgo.end_task(batches(STEPS))
        before = loss_of(model, x, y).item()
        with nullcontext() if protected else rgo.projector.paused():
            train(model, rgo.optimizer, batches(STEPS, seed=1))
        return loss_of(model, x, y).item() - before

    assert forgotten(protected=True) < 0.5 * forgotten(protected=False)


def test_every_task_comes_back_with_its_own_encoding() -> None:
    model, rgo = learner(seed=3)
    x, seen = batch()[0], []
    for _ in range(3):
        rgo.begin_task()
        seen.append(model(x))
        with rgo.task(np.int64(0)):
            assert torch.equal(model(x), seen[0])
        assert torch.equal(model(x), seen[-1])
        rgo.end_task(batches())
    assert not torch.equal(seen[0], seen[1])
    for task, expected in enumerate(seen):
        with rgo.task(task):
            assert torch.equal(model(x), expected)
    assert torch.equal(model(x), seen[-1])


def test_the_curvature_is_observed_in_the_encoding_of_the_task() -> None:
    found = []
    for inside in (False, True):
        model, rgo = learner()
        learn(model, rgo, 0)
        rgo.begin_task(1)
        if inside:
            with rgo.task(0):
                moments = rgo.observe(batches())
                assert rgo.encoder.task_index == 0
        else:
            moments = rgo.observe(batches())
        found.append(moments["2.weight"].matrix)
    assert torch.equal(*found)


def test_without_encoding_tasks_share_one_model() -> None:
    model, rgo = learner(encode=False)
    x = batch()[0]
    learn(model, rgo, 0)
    rgo.begin_task(1)
    with rgo.task(0):
        first = model(x)
    assert torch.equal(first, model(x))
    assert rgo.encoder is None


def test_observing_and_consolidating_are_the_two_halves_of_end_task() -> None:
    whole_model, whole = learner()
    model, rgo = learner()
    for candidate in (whole, rgo):
        candidate.begin_task(0)
    before = copy.deepcopy(rgo.state_dict())
    whole.end_task(batches())
    moments = rgo.observe(batches())
    assert_same(rgo.state_dict(), before)
    rgo.consolidate(moments)
    assert_same(rgo.state_dict(), whole.state_dict())
    assert_same(weights_of(model), weights_of(whole_model))


@pytest.mark.parametrize(
    "options",
    [{"per": "batch"}, {"reduce": "rms"}, {"curvature": "exact"}],
)
def test_options_reach_the_curvature_pass(options: dict[str, str]) -> None:
    model, rgo = learner(observe=partial(second_moments, **options))
    rgo.begin_task()
    found = rgo.observe(batches())
    expected = second_moments(model, batches(), **options)
    plain = second_moments(model, batches())
    assert torch.equal(found["2.weight"].matrix, expected["2.weight"].matrix)
    assert not torch.equal(found["2.weight"].matrix, plain["2.weight"].matrix)


def test_mask_and_score_reach_the_curvature_pass() -> None:
    model, rgo = learner()
    rgo.begin_task()
    data = [(x, y % 2) for x, y in batches()]
    mask = torch.tensor([True, True, False, False])
    expected = second_moments(model, data, mask=mask)
    rgo.end_task(data, mask=mask)
    assert_same(rgo.projector.moments["0.weight"], expected["0.weight"])

    def score(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).sum(-1)

    model, rgo = learner()
    rgo.begin_task()
    expected = second_moments(model, [batch()[0]], score=score)
    rgo.end_task([batch()[0]], score=score)
    assert_same(rgo.projector.moments["0.weight"], expected["0.weight"])


def test_damping_reaches_the_projection_and_project_the_projector() -> None:
    _, rgo = learner(damping=1e12)
    rgo.begin_task()
    rgo.end_task(batches())
    assert_near(rgo.projector.projections["0.weight"], torch.eye(12))
    assert learner(project="update")[1].projector.project == "update"
    assert list(learner(unencoded=["0"])[1].encoder.widths) == ["2", "4"]


def test_after_detach_model_and_optimizer_are_plain() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    rgo.detach()
    plain = mlp()
    plain.load_state_dict(model.state_dict())
    train(model, rgo.optimizer, batches())
    train(plain, sgd(plain), batches())
    assert not list(hooks_of(model))
    assert_same(weights_of(model), weights_of(plain))


@pytest.mark.parametrize("damping", [0.1, Relative(0.1)])
def test_damping_counts_in_the_unit_that_is_asked_for(damping: Damping) -> None:
    model, rgo = learner(damping=damping)
    learn(model, rgo, 0)
    for name, moment in rgo.projector.moments.items():
        expected = rgo_core.consolidate(moment, damping, normalized=False)
        assert torch.equal(rgo.projector.projections[name], expected.float())


def test_an_old_task_may_be_looked_at_between_forward_and_backward() -> None:
    def gradients(look: bool) -> list[Tensor]:
        model, rgo = learner()
        for task in range(2):
            learn(model, rgo, task)
        x, y = batch()
        loss = functional.cross_entropy(model(x), y)
        if look:
            with rgo.task(0), torch.inference_mode():
                model(x)
        return list(torch.autograd.grad(loss, list(model.parameters())))

    torch.testing.assert_close(gradients(True), gradients(False), rtol=0, atol=0)


def test_losses_of_two_tasks_may_be_added() -> None:
    model, rgo = learner()
    for task in range(2):
        learn(model, rgo, task)
    x, y = batch()

    def loss(task: int) -> Tensor:
        with rgo.task(task):
            return functional.cross_entropy(model(x), y)

    parameters = list(model.parameters())
    together = torch.autograd.grad(loss(0) + loss(1), parameters)
    apart = [torch.autograd.grad(loss(task), parameters) for task in range(2)]
    for found, first, second in zip(together, *apart, strict=True):
        assert_near(found, first + second)


def test_training_goes_on_after_a_look_in_inference_mode() -> None:
    model, rgo = learner()
    for task in range(2):
        learn(model, rgo, task)
    with torch.inference_mode(), rgo.task(1):
        model(batch()[0])
    loss_of(model, *batch()).backward()


def test_without_encoding_a_detached_model_serves_every_task() -> None:
    model, rgo = learner(encode=False)
    learn(model, rgo, 0)
    rgo.detach()
    plain, (x, _) = mlp(), batch()
    plain.load_state_dict(model.state_dict())
    with rgo.task(0):
        assert torch.equal(model(x), plain(x))
