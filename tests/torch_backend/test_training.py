"""What training loops and models do, RGO takes: each beside a dumb equivalent."""

from collections.abc import Callable

import pytest
import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch_backend.nets import (
    CLASSES,
    FEATURES,
    assert_same,
    batch,
    batches,
    conv_net,
    gradients_of,
    images,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
    wide_mlp,
)
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import RGO

pytestmark = [
    # PyTorch's own, at the first forward-mode derivative.
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is dep:DeprecationWarning"),
    # Dynamo's own, which it hides from all but pytest.
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
    ),
]

SMALL, LARGE = 4, 64  # batches that project by factors, and directly


def in_second_task(model: nn.Module, **options: object) -> tuple[RGO, object]:
    """Attach RGO, and end one task, so that steps are projected and encoded."""
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, damping=0.001, **options)
    rgo.begin_task(0)
    rgo.end_task(batches(size=LARGE, seed=50))
    rgo.begin_task(1)
    return rgo, optimizer


def assert_projected(rgo: RGO, model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Demand that gradients are ``G P``, with G those of the paused projector."""
    found = gradients_of(model, loss)
    with rgo.projector.paused():
        plain = gradients_of(model, loss)
    assert set(found) == set(plain)
    moved = []
    for name, gradient in plain.items():
        P = rgo.projector.projections.get(name)
        if P is None:
            assert torch.equal(found[name], gradient)
            continue
        axes = rgo.projector.parameters[name].axes
        rows = rgo_core.to_rows(gradient.double(), axes, leading=0, xp=xp)
        matrix = rgo_core.as_matrix(P).double()
        expected = rgo_core.from_rows(rows @ matrix, axes, gradient.shape, xp=xp)
        bound = float(gradient.norm() * torch.linalg.matrix_norm(matrix, 2).max())
        assert_near(found[name], expected, scale=bound)
        moved.append(float(torch.dist(found[name], gradient) / gradient.norm()))
    assert max(moved) > 0.1


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
        assert torch.equal(found[name], (gradient.float() @ P).bfloat16())


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


def test_a_wrapped_model_has_the_names_of_the_original() -> None:
    model, plain = mlp(), mlp()
    wrapped = nn.DataParallel(model)
    rgo, optimizer = in_second_task(wrapped)
    other, reference = in_second_task(plain)
    assert list(rgo.projector.parameters) == list(dict(plain.named_parameters()))
    train(wrapped, optimizer, batches())
    train(plain, reference, batches())
    assert_same(weights_of(model), weights_of(plain))
    other.load_state_dict(rgo.state_dict())


class Assorted(nn.Module):
    """Parameters of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.entry = nn.Embedding(5, 8), nn.Linear(FEATURES, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.dropout = nn.LayerNorm(8), nn.Dropout(0.5)
        self.batch_norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(torch.arange(5)) + self.entry(x)[:, None]
        attended = self.norm(self.attention(tokens, tokens, tokens)[0])
        return self.head(self.dropout(self.batch_norm(attended.mean(1))))


def test_parameters_of_every_kind_are_projected() -> None:
    model = Assorted()
    rgo, _ = in_second_task(model, encode=False)
    assert set(rgo.projector.projections) == {n for n, _ in model.named_parameters()}

    def loss() -> Tensor:
        torch.manual_seed(7)  # the same units drop out
        return loss_of(model, *batch(SMALL))

    assert_projected(rgo, model, loss)


def test_a_transformer_layer_is_observed_and_projected() -> None:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(
                self.body(x.reshape(len(x), -1, 4).repeat(1, 1, 2)).mean(1)
            )

    model = Transformer()
    rgo, _ = in_second_task(model)
    assert "body.linear1.weight" in rgo.projector.projections
    assert_projected(rgo, model, lambda: loss_of(model, *batch(SMALL)))


def test_a_head_with_several_tasks_is_masked_in_training_and_in_the_pass() -> None:
    model = mlp()
    optimizer = sgd(model)
    rgo = RGO(model, optimizer)
    for task in range(2):
        mask = torch.zeros(CLASSES, dtype=torch.bool)
        mask[2 * task : 2 * task + 2] = True
        data = [(x, y % 2 + 2 * task) for x, y in batches()]
        rgo.begin_task(task)
        for x, y in data:
            optimizer.zero_grad()
            logits = model(x).masked_fill(~mask, -torch.inf)
            functional.cross_entropy(logits, y).backward()
            optimizer.step()
        rgo.end_task(data, mask=mask)
        bias = rgo.projector.moments["4.bias"].matrix
        assert bias[~mask].any() == (task == 1)  # task 0 left its own
        assert bias[mask].any()


def test_a_frozen_layer_that_thaws_has_been_protected_all_along() -> None:
    model, plain = mlp(), mlp()
    model[0].requires_grad_(False)
    rgo, optimizer = in_second_task(model)
    reference, _ = in_second_task(plain)
    before = weights_of(model)
    train(model, optimizer, batches())
    assert_same(model[0].weight.detach(), before["0.weight"])
    assert_same(
        rgo.projector.state_dict()["0.weight"],
        reference.projector.state_dict()["0.weight"],
    )
    model[0].requires_grad_(True)
    assert_projected(rgo, model, lambda: loss_of(model, *batch()))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_curvature_pass_leaves_gradients_and_random_state(size: int) -> None:
    model = Assorted()
    rgo, _ = in_second_task(model)
    loss_of(model, *batch(size)).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    state, buffers = torch.get_rng_state(), [b.clone() for b in model.buffers()]
    rgo.end_task(batches(size=size))
    assert torch.equal(torch.get_rng_state(), state)
    assert_same([p.grad for p in model.parameters()], gradients)
    assert_same(list(model.buffers()), buffers)
    assert all(module.training for module in model.modules())


def test_training_in_eval_mode_is_projected_too() -> None:
    model = Assorted().eval()
    rgo, _ = in_second_task(model)
    assert_projected(rgo, model, lambda: loss_of(model, *batch(SMALL)))
    assert not any(module.training for module in model.modules())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_model_takes_the_steps_of_the_cpu() -> None:
    model, plain = wide_mlp().cuda(), wide_mlp()
    found = []
    for candidate in (model, plain):
        device = candidate[0].weight.device
        optimizer = sgd(candidate)
        rgo = RGO(candidate, optimizer)
        for task in range(2):
            rgo.begin_task(task)
            data = batches(size=SMALL, seed=task)
            train(candidate, optimizer, [(x.to(device), y.to(device)) for x, y in data])
            rgo.end_task(data)
        found.append(weights_of(candidate))
    for name, weight in found[1].items():
        assert_near(found[0][name].cpu(), weight, amplification=50)


def dual(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        made = function(forward_ad.make_dual(x, torch.ones_like(x)))
        tangent: Tensor = forward_ad.unpack_dual(made).tangent
        return tangent


@pytest.mark.parametrize(
    "mode",
    [
        lambda function, x: torch.func.jvp(function, (x,), (torch.ones_like(x),))[1],
        lambda function, x: torch.func.hessian(lambda x: function(x)[0, 0])(x),
        lambda function, x: torch.func.jacfwd(function)(x),
        lambda function, x: torch.func.vmap(torch.func.jacrev(function))(x[:, None]),
        dual,
    ],
    ids=["jvp", "hessian", "jacfwd", "vmap of jacrev", "forward AD"],
)
@pytest.mark.parametrize("make", [wide_mlp, conv_net])
def test_derivatives_of_every_mode_are_those_of_the_plain_network(
    mode: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
    make: Callable[[], nn.Sequential],
) -> None:
    model = make().double()
    x = images(SMALL)[0] if make is conv_net else batch(SMALL)[0]
    rgo = RGO(model, sgd(model), unencoded=["4"] if make is wide_mlp else ["4", "5"])
    rgo.begin_task(0)
    rgo.end_task([(x.double(), torch.arange(SMALL) % CLASSES)])
    rgo.begin_task(1)
    plain = rgo.merge_for(1)
    smooth = [lambda x, net=net: net(x.sin()).sin() for net in (model, plain)]
    found, expected = (mode(function, x.double()).detach() for function in smooth)
    assert_near(found, expected, amplification=100)
    assert float(found.norm()) > 0
