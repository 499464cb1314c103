"""Tasks begin, end and come back; whatever fails changes nothing."""

import copy
from contextlib import nullcontext
from functools import partial
from typing import Any

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
from rgo_core.damping import MAP_DAMPING, UPDATE_DAMPING, Damping
from rgo_torch import RGO, measured_damping, second_moments

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


def told(rgo: RGO, *options: str) -> list[Any]:
    """Return what a state says of options."""
    return [rgo.state_dict()["options"][name] for name in options]


def test_of_an_adaptive_optimizer_the_update_is_projected_and_the_summary_says_so() -> (
    None
):
    model = mlp()
    rgo = RGO(model, torch.optim.AdamW(model.parameters()))
    assert rgo.projector.project == "update"
    assert rgo.projector.normalize == "none"
    assert rgo.damping == UPDATE_DAMPING
    assert told(rgo, "per", "reduce") == [None, None]
    model = mlp()
    rgo = RGO(model, torch.optim.AdamW(model.parameters()), damping=0.1)
    assert (rgo.damping, told(rgo, "relative")) == (0.1, [False])
    assert "update is projected, not the gradient: AdamW adapts" in rgo.summary()
    model = mlp()
    rgo = RGO(model, sgd(model))
    assert rgo.projector.project == "gradient"
    assert rgo.damping == measured_damping("sample", "mean", scaled=False)
    assert "update is projected" not in rgo.summary()


def test_the_damping_of_a_convolutional_network_is_relative_by_default() -> None:
    def damping(**options: Any) -> Damping:
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2))
        return RGO(model, sgd(model), **options).damping

    absolute = measured_damping("sample", "mean", encode=False)
    assert damping() == Relative(0.03)
    assert damping(damping=0.1) == 0.1
    # What was measured is the encoded form, a vector a sample.
    assert damping(encode=False) == absolute
    by_batches = partial(second_moments, per="batch")
    assert damping(observe=by_batches) == measured_damping("batch", "mean")
    # A convolution that is not protected has no curvature to fade.
    mlp_s = measured_damping("sample", "mean", scaled=False)
    assert damping(protect=["2"]) == mlp_s


def test_a_fully_convolutional_network_is_observed_at_each_position() -> None:
    def attached(*more: nn.Module, **options: Any) -> RGO:
        layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 2, 3)
        model = nn.Sequential(*layers, *more)
        kind = torch.optim.SGD if "project" in options else torch.optim.AdamW
        return RGO(model, kind(model.parameters(), lr=0.1), **options)

    found = attached()
    assert (found.damping, told(found, "per", "reduce")) == (
        MAP_DAMPING,
        ["position", "mean"],
    )
    assert "a vector for each position" in found.summary()
    assert attached(damping=0.1).damping == 0.1
    # Not where somebody chose, where a layer gives out no map, or gradients go.
    assert told(attached(observe=partial(second_moments, reduce="rms")), "per") == [
        "sample"
    ]
    dense = attached(nn.Flatten(), nn.Linear(2, 2))
    assert (dense.damping, told(dense, "per")) == (UPDATE_DAMPING, [None])
    assert told(attached(project="gradient"), "per") == ["sample"]


def beside_linear(*own: nn.Module) -> nn.Sequential:
    """Return modules before what the paper's networks have."""
    return nn.Sequential(*own, nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("own", "is_plain"),
    [
        ([], True),
        ([nn.Dropout()], True),
        ([nn.LayerNorm(6)], False),
        ([nn.PReLU()], False),
        ([nn.Bilinear(2, 3, 4)], False),
    ],
)
def test_projections_are_scaled_only_if_asked_for(
    own: list[nn.Module], is_plain: bool
) -> None:
    model = beside_linear(*own)

    def chosen(**options: Any) -> tuple[str, Damping]:
        rgo = RGO(model, sgd(model), **options)
        rgo.detach()
        return rgo.projector.normalize, rgo.damping

    def measured(**options: bool) -> Damping:
        number = measured_damping("sample", "mean", **options)
        return number if is_plain else Relative(0.03)

    assert chosen() == ("none", measured(scaled=False))
    assert chosen(normalize="weights") == ("weights", measured())
    unencoded = measured(scaled=False, encode=False)
    assert chosen(encode=False) == ("none", unencoded)
    by_batch = partial(second_moments, per="batch")
    assert chosen(observe=by_batch) == ("none", measured_damping("batch", "mean"))
    assert chosen(damping=0.2) == ("none", 0.2)


def test_what_is_not_protected_is_not_asked_for_its_kind() -> None:
    model = beside_linear(nn.LayerNorm(6))
    rgo = RGO(model, sgd(model), protect=["1", "3"])
    assert rgo.damping == measured_damping("sample", "mean", scaled=False)


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


def test_the_damping_is_the_one_measured_for_the_vectors_unless_it_is_given() -> None:
    _, by_default = learner()
    by_batches = partial(second_moments, per="batch")
    _, by_batch = learner(observe=by_batches)
    _, given = learner(observe=by_batches, damping=0.5)
    unscaled = measured_damping("sample", "mean", scaled=False)
    assert by_default.damping == unscaled
    assert by_batch.damping == measured_damping("batch", "mean")
    assert given.damping == 0.5


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
