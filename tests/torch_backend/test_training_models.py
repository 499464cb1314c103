"""Models of every make, trained in a second task."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import compiled_autograd
from torch.autograd import forward_ad
from torch.nn import functional
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
from torch_backend.second_task import (
    FOREIGN_WARNINGS,
    LARGE,
    SMALL,
    assert_projected,
    in_second_task,
)
from torch_backend.tolerance import assert_near

from rgo_torch import RGO

pytestmark = FOREIGN_WARNINGS


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
    rgo.observe(batches(size=size))
    assert torch.equal(torch.get_rng_state(), state)
    assert_same([p.grad for p in model.parameters()], gradients)
    assert_same(list(model.buffers()), buffers)
    assert all(module.training for module in model.modules())


def test_training_in_eval_mode_is_projected_too() -> None:
    model = Assorted().eval()
    rgo, _ = in_second_task(model)
    assert_projected(rgo, model, lambda: loss_of(model, *batch(SMALL)))
    assert not any(module.training for module in model.modules())


def test_a_backward_pass_that_is_compiled_is_projected_too() -> None:
    model = wide_mlp()
    rgo, _ = in_second_task(model)
    compiler = torch.compile(backend="eager")

    def compiled() -> list[Tensor]:
        model.zero_grad()
        with compiled_autograd._enable(compiler):
            loss_of(model, *batch(SMALL)).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    projected = compiled()
    expected = gradients_of(model, lambda: loss_of(model, *batch(SMALL)))
    with rgo.projector.paused():
        plain = compiled()
    for found, gradient in zip(projected, expected.values(), strict=True):
        assert_near(found, gradient, amplification=10)
    moved = [float(torch.dist(a, b)) for a, b in zip(projected, plain, strict=True)]
    assert max(moved) > 0.1 * float(plain[0].norm())


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
