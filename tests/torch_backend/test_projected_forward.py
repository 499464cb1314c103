"""What factors reach a weight is projected once, and nothing outlives a pass."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch_backend.layer_kinds import SAME, convolutions
from torch_backend.nets import (
    CLASSES,
    FEATURES,
    batch,
    conv_net,
    gradients_of,
    images,
    loss_of,
    sgd,
    wide_mlp,
)
from torch_backend.tolerance import assert_far, assert_near

from rgo_torch import RGO, GradientProjector, second_moments
from rgo_torch.fast.projected_forward import ProjectedForward, _projected
from rgo_torch.layers.convolution import ConvolutionLayer

ROWS = 4  # few enough for factors to pay
NAME = "2.weight"


def projected_model() -> tuple[nn.Sequential, GradientProjector]:
    model = wide_mlp()
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(second_moments(model, [batch(64)]), damping=0.001)
    return model, projector


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """List what the layer of `NAME` sends to its weight projected."""
    found: list[Tensor] = []
    form = ProjectedForward.weight_gradient

    def watched(self: ProjectedForward, *factors: Tensor) -> Tensor:
        gradient = form(self, *factors)
        if self.layer.name == NAME.removesuffix(".weight") and self.sent.parts:
            found.append(gradient)
        return gradient

    monkeypatch.setattr(ProjectedForward, "weight_gradient", watched)
    return found


def assert_projected(
    model: nn.Module, projector: GradientProjector, loss: Callable[[], Tensor]
) -> None:
    """Demand ``G P`` of the whole gradient G, however it comes about."""
    with projector.paused():
        plain = gradients_of(model, loss)
    projected = gradients_of(model, loss)
    for name, gradient in plain.items():
        P = projector.projections[name]
        rows = projector.parameters[name].rows(gradient)
        expected = (rows.double() @ P.double()).reshape(gradient.shape)
        bound = float(gradient.norm() * torch.linalg.matrix_norm(P, 2).max())
        assert_near(projected[name], expected, scale=bound)
    assert_far(projected[NAME], plain[NAME])


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


def test_a_detached_layer_has_its_own_forward_again() -> None:
    model, projector = projected_model()
    assert "forward" in model[2].__dict__
    projector.detach()
    assert "forward" not in model[2].__dict__


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


def test_inputs_may_be_given_by_keyword(sent: list) -> None:
    model, projector = projected_model()

    def loss() -> Tensor:
        x, y = batch(ROWS)
        hidden = torch.relu(model[2](input=torch.relu(model[0](x))))
        return functional.cross_entropy(model[4](hidden), y)

    assert_projected(model, projector, loss)
    assert len(sent) == 1


def test_frozen_weights_gather_nothing(sent: list) -> None:
    model, _ = projected_model()
    model[2].weight.requires_grad_(False)
    loss_of(model, *batch(ROWS)).backward()
    assert model[2].weight.grad is None
    assert not sent
    assert not gathered(model)


@pytest.mark.filterwarnings(SAME)
@given(convolution=convolutions())
def test_a_convolution_of_any_kind_is_projected_by_its_factors(
    convolution: nn.Conv2d,
) -> None:
    layer = ConvolutionLayer("", convolution)
    assert_convolution_projected(layer, torch.randn(2, 4, 6, 5, dtype=torch.float64))


def test_one_image_without_a_batch_axis_is_projected_by_its_factors() -> None:
    torch.manual_seed(0)
    layer = ConvolutionLayer("", nn.Conv2d(3, 200, 2, padding=1).double())
    assert_convolution_projected(layer, torch.randn(3, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("padding", ["same", 1])
def test_a_convolution_with_few_positions_takes_the_cheaper_way(
    monkeypatch: pytest.MonkeyPatch, padding: str | int
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 128, 3, padding=padding)
    model = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), nn.Linear(512, CLASSES))
    x, y = torch.randn(3, 4, 2, 2), torch.tensor([0, 3, 1])
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(second_moments(model, [(x, y)]), damping=1e-4)
    calls = []
    call = ConvolutionLayer.input_rows
    monkeypatch.setattr(
        ConvolutionLayer,
        "input_rows",
        lambda self, x: calls.append(self) or call(self, x),
    )
    with projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, x, y))["0.weight"]
    found = gradients_of(model, lambda: loss_of(model, x, y))["0.weight"]
    assert bool(calls) == (padding == 1)
    P = projector.projections["0.weight"].double()
    expected = plain.reshape(128, -1).double() @ P
    assert_near(found.reshape(128, -1), expected, amplification=len(P))
    assert_far(found, plain)


def assert_convolution_projected(layer: ConvolutionLayer, x: Tensor) -> None:
    """Demand the gradients of input and bias, and ``G P`` of the weight."""
    x.requires_grad_()
    n, groups = layer.features, layer.groups
    P = torch.randn(groups, n, n, dtype=torch.float64)
    P = (P + P.mT).squeeze(0) if groups == 1 else P + P.mT
    d = torch.randn_like(layer.module(x))
    plain = torch.autograd.grad(layer.module(x), [x, *layer.module.parameters()], d)
    if not layer.is_plain:
        return
    owner = ProjectedForward(layer, lambda: P)
    output = _projected(x, layer.weight, layer.bias, owner)
    assert torch.equal(output, owner._plain(x))
    found = torch.autograd.grad(output, [x, *layer.module.parameters()], d)
    owner.remove()
    expected = (layer.weight_rows(plain[1]) @ P).reshape(plain[1].shape)
    assert_near(found[0], plain[0], amplification=n)
    bound = float(P.norm() * x.detach().norm() * d.norm())
    assert_near(found[1], expected, scale=bound, amplification=n)
    for one, other in zip(found[2:], plain[2:], strict=True):
        assert_near(one, other, scale=float(d.norm()), amplification=n)


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


def test_where_no_callback_is_taken_the_gradient_is_projected_at_the_weight(
    sent: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compiled autograd itself takes over a minute to start: it was run by hand.
    model, projector = projected_model()

    def loss() -> Tensor:
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: False)
        value = loss_of(model, *batch(ROWS))
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        return value

    assert_projected(model, projector, loss)
    assert not sent
