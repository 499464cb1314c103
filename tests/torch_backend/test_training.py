"""What training loops and models do, RGO takes: each beside a dumb equivalent."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch_backend.nets import (
    CLASSES,
    FEATURES,
    assert_same,
    batch,
    batches,
    gradients_of,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
    wide_mlp,
)
from torch_backend.second_task import (
    FOREIGN_WARNINGS,
    LARGE,
    SMALL,
    assert_projected,
    in_second_task,
)
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import RGO

pytestmark = FOREIGN_WARNINGS


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_two_micro_batches_make_one_projected_batch(size: int) -> None:
    model = wide_mlp()
    in_second_task(model)
    x, y = batch(size)
    whole = gradients_of(model, lambda: loss_of(model, x, y))
    model.zero_grad()
    for part in (slice(0, size // 2), slice(size // 2, size)):
        (loss_of(model, x[part], y[part]) / 2).backward()
    for name, p in model.named_parameters():
        assert_near(p.grad, whole[name], amplification=size)


def test_two_backward_passes_of_one_graph_add_up() -> None:
    model = wide_mlp()
    in_second_task(model)
    once = gradients_of(model, lambda: loss_of(model, *batch(SMALL)))
    model.zero_grad()
    loss = loss_of(model, *batch(SMALL))
    loss.backward(retain_graph=True)
    loss.backward()
    for name, p in model.named_parameters():
        assert_near(p.grad, 2 * once[name])


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_clipping_acts_on_projected_gradients(size: int) -> None:
    model = wide_mlp()
    in_second_task(model)
    found = gradients_of(model, lambda: loss_of(model, *batch(size)))
    expected = torch.linalg.vector_norm(torch.cat([g.ravel() for g in found.values()]))
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5 * float(expected))
    assert_near(norm, expected, amplification=len(found))
    assert_near(model[0].weight.grad, found["0.weight"] / 2, amplification=10)


def test_momentum_gathers_projected_gradients() -> None:
    model = mlp().double()
    rgo = RGO(model, optimizer := sgd(model, momentum=0.9), encode=False)
    data = [(x.double(), y) for x, y in batches()]
    rgo.begin_task()
    rgo.end_task(data)
    P, velocity = rgo.projector.projections["0.weight"], 0
    for x, y in data:
        with rgo.projector.paused():
            plain = gradients_of(model, lambda x=x, y=y: loss_of(model, x, y))
        velocity = 0.9 * velocity + plain["0.weight"] @ P
        expected = model[0].weight.detach() - 0.1 * velocity
        train(model, optimizer, [(x, y)])
        assert_near(model[0].weight, expected)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_penalty_on_the_weights_is_projected_with_the_rest(size: int) -> None:
    model = wide_mlp()
    rgo, _ = in_second_task(model)

    def loss() -> Tensor:
        penalty = sum((p**2).sum() for p in model.parameters())
        return loss_of(model, *batch(size)) + 0.1 * penalty

    assert_projected(rgo, model, loss)


class Shared(nn.Module):
    """A layer that is called twice, and one whose weight is another's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.entry = nn.Linear(FEATURES, 40)
        self.shared, self.tied = nn.Linear(40, 40), nn.Linear(40, 40)
        self.tied.weight = self.shared.weight
        self.head = nn.Linear(40, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.entry(x))
        x = torch.tanh(self.shared(torch.tanh(self.shared(x))))
        return self.head(torch.tanh(self.tied(x)))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_shared_layers_and_tied_weights_are_projected_as_a_whole(size: int) -> None:
    model = Shared()
    rgo, _ = in_second_task(model)
    assert "tied.weight" not in rgo.projector.parameters
    assert_projected(rgo, model, lambda: loss_of(model, *batch(size)))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_operation_in_place_after_a_layer_changes_nothing(size: int) -> None:
    found = []
    for inplace in (False, True):
        model = wide_mlp()
        model[1] = model[3] = nn.ReLU(inplace)
        rgo, optimizer = in_second_task(model)
        train(model, optimizer, batches(size=size))
        rgo.end_task(batches(size=size))
        found.append((weights_of(model), rgo.state_dict()))
    assert_same(*found)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_changes_no_step(reentrant: bool, size: int) -> None:
    model = wide_mlp()
    rgo, _ = in_second_task(model)
    x, y = batch(size)
    x.requires_grad_()  # reentrant checkpointing wants one

    def loss() -> Tensor:
        logits = checkpoint(model, x, use_reentrant=reentrant)
        return functional.cross_entropy(logits, y)

    assert_projected(rgo, model, loss)
    plain = gradients_of(model, lambda: loss_of(model, x, y))
    assert_same(gradients_of(model, loss), plain)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_autocast_to_bfloat16_projects_in_float32(size: int) -> None:
    model = wide_mlp()
    rgo, _ = in_second_task(model)

    def loss() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss_of(model, *batch(size))

    assert_projected(rgo, model, loss)


def test_a_backward_pass_inside_autocast_projects_in_float32_too() -> None:
    model = wide_mlp()
    rgo, _ = in_second_task(model)

    def loss() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss_of(model, *batch(LARGE))

    expected = gradients_of(model, loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients_of(model, loss)
    assert_same(found, expected)
    assert rgo.projector.projections


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_a_gradient_scaler_scales_and_unscales_around_the_projection(
    project: str,
) -> None:
    model, plain = wide_mlp(), wide_mlp()
    _, optimizer = in_second_task(model, project=project)
    _, unscaled = in_second_task(plain, project=project)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for x, y in batches(size=SMALL):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, x, y)).backward()
        scaler.step(optimizer)
        scaler.update()
    train(plain, unscaled, batches(size=SMALL))
    assert_same(weights_of(model), weights_of(plain))  # a power of two


@pytest.mark.parametrize("project", ["gradient", "update"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_gradient_scaler_skips_a_step_of_infinite_gradients(
    size: int, project: str
) -> None:
    model = wide_mlp()
    _, optimizer = in_second_task(model, project=project)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = weights_of(model)
    scaler.scale(loss_of(model, *batch(size)) * torch.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    assert_same(weights_of(model), before)
    assert scaler.get_scale() == 2.0**9
    train(model, optimizer, batches(size=size))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not torch.equal(model[0].weight, before["0.weight"])


def test_a_model_in_bfloat16_trains_and_consolidates() -> None:
    model = wide_mlp().bfloat16()
    optimizer = sgd(model)
    with pytest.warns(UserWarning, match=r"^0\.weight, .*: trained in bfloat16"):
        rgo = RGO(model, optimizer)
    data = [(x.bfloat16(), y) for x, y in batches(size=SMALL)]
    for task in range(2):
        rgo.begin_task(task)
        train(model, optimizer, data)
        rgo.end_task(data)
    found = gradients_of(model, lambda: loss_of(model, *data[0]))
    with rgo.projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, *data[0]))
    for name, gradient in plain.items():
        P = rgo.projector.projections[name]
        expected = rgo_core.project(P, gradient.float(), axis=-1)
        assert torch.equal(found[name], expected.bfloat16())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_compiled_model_steps_like_the_eager_one(size: int, backend: str) -> None:
    torch.compiler.reset()
    model, plain = wide_mlp(), wide_mlp()
    fast = torch.compile(model, backend=backend, fullgraph=True)
    optimizer, reference = sgd(model), sgd(plain)
    rgo, eager = RGO(fast, optimizer, seed=3), RGO(plain, reference, seed=3)
    for task in range(3):
        for candidate, owner, stepper in (
            (fast, rgo, optimizer),
            (plain, eager, reference),
        ):
            owner.begin_task(task)
            train(candidate, stepper, batches(size=size, seed=task))
            owner.end_task(batches(size=size, seed=task))
    with rgo.task(1), eager.task(1):
        assert_near(fast(batch()[0]), plain(batch()[0]), amplification=10)
    for name, weight in weights_of(plain).items():
        assert_near(weights_of(model)[name], weight, amplification=10)
    for name, moment in eager.projector.moments.items():
        found = rgo.projector.moments[name].matrix
        # Formed in float32, from weights that differ in their last bits.
        error = float(torch.dist(found, moment.matrix) / moment.matrix.norm())
        assert_near(torch.ones(()) + error, torch.ones(()), amplification=10)
