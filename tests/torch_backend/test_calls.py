"""The pass sees every call of a layer, and leaves no trace."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch_backend import oracle
from torch_backend.nets import (
    CLASSES,
    FEATURES,
    assert_same,
    batch,
    batches,
    compiled,
    conv_net,
    hooks_of,
    images,
    mlp,
    sgd,
    wide_mlp,
)
from torch_backend.tolerance import assert_near

from rgo_torch import RGO, GradientProjector, second_moments


def test_an_operation_in_place_on_the_output_changes_nothing() -> None:
    for net, data in ((mlp, [batch()]), (conv_net, [images()])):
        expected = second_moments(net(), data)
        found = second_moments(net(inplace=True), data)
        assert_same(
            {n: m.matrix for n, m in found.items()},
            {n: m.matrix for n, m in expected.items()},
        )


@pytest.mark.parametrize("inplace", [False, True])
def test_frozen_layers_are_observed_and_stay_frozen(inplace: bool) -> None:
    model, data = mlp(inplace=inplace), batches()
    expected = second_moments(model, data)
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    found = second_moments(model, data)
    assert frozen == ["0.weight", "0.bias", "2.bias"]
    assert frozen == [n for n, p in model.named_parameters() if not p.requires_grad]
    for name, moment in expected.items():
        assert torch.equal(found[name].matrix, moment.matrix)


def test_a_failing_pass_leaves_frozen_layers_frozen() -> None:
    model = mlp().requires_grad_(False)
    with pytest.raises(ValueError, match="labels must lie in"):
        second_moments(model, [(batch()[0], torch.full((16,), 9))])
    assert not any(p.requires_grad for p in model.parameters())


def test_a_score_whose_rows_reach_different_calls_keeps_them_apart() -> None:
    model = nn.Linear(3, 2, bias=False).double()
    first, second = torch.randn(2, 4, 3, dtype=torch.float64)

    def score(model: nn.Module, batch: object) -> Tensor:
        return torch.stack([model(first).sum(-1), model(second).sum(-1)])

    found = second_moments(model, [None], score=score)["weight"].matrix
    assert_near(found, first.T @ first + second.T @ second)


class Noisy(nn.Module):
    """Dropout and batch normalisation between two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(12, 8), nn.BatchNorm1d(8)
        self.dropout, self.second = nn.Dropout(0.5), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.dropout(torch.relu(self.norm(self.first(x)))))


def test_the_pass_sees_the_model_in_eval_mode() -> None:
    model = Noisy().double()
    model(batch()[0].double())  # some running statistics
    reference = copy.deepcopy(model).eval()
    data = [(x.double(), y) for x, y in batches()]
    expected = oracle.moments(reference, data)
    for name, (found, _) in second_moments(model.train(), data).items():
        matrix = torch.from_numpy(expected[name])
        assert_near(found, matrix.diagonal() if name.startswith("norm") else matrix)


@pytest.mark.parametrize("fails", [False, True])
def test_the_pass_leaves_no_trace_in_the_model(fails: bool) -> None:
    model = Noisy().train()
    model.dropout.eval()
    model.first.weight.requires_grad_(False)
    model(batch()[0]).sum().backward()
    data = batches()
    if fails:
        data[-1] = (data[-1][0], torch.full((16,), CLASSES))
    modes = [module.training for module in model.modules()]
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    trainable = [p.requires_grad for p in model.parameters()]
    if fails:
        with pytest.raises(ValueError, match="labels must lie in"):
            second_moments(model, data)
    else:
        second_moments(model, data)
    assert_same(dict(model.state_dict()), dict(state))
    assert torch.equal(torch.get_rng_state(), random)
    assert_same([p.grad for p in model.parameters()], grads)
    assert [p.requires_grad for p in model.parameters()] == trainable
    assert [module.training for module in model.modules()] == modes
    assert not list(hooks_of(model))


def test_the_pass_works_under_no_grad() -> None:
    expected = second_moments(mlp(), batches())
    with torch.no_grad():
        found = second_moments(mlp(), batches())
        assert not torch.is_grad_enabled()
    assert torch.equal(found["0.weight"].matrix, expected["0.weight"].matrix)


@pytest.mark.parametrize("curvature", ["ground-truth", "exact"])
@pytest.mark.parametrize("frozen", [False, True])
def test_activation_checkpointing_changes_nothing(curvature: str, frozen: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.body, x, use_reentrant=False)

    model = Checkpointed()
    model.body[0].requires_grad_(not frozen)
    expected = second_moments(mlp(), batches(), curvature=curvature)
    for name, moment in second_moments(model, batches(), curvature=curvature).items():
        plain = expected[name.removeprefix("body.")]
        assert torch.equal(moment.matrix, plain.matrix)


def test_layers_below_no_grad_are_left_out() -> None:
    class Extractor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.head = nn.Linear(12, 8), nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                features = self.below(x)
            return self.head(features)

    found = second_moments(Extractor(), batches())
    assert list(found) == ["head.weight", "head.bias"]


def test_inputs_given_by_keyword_are_recorded() -> None:
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = mlp()[0]

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(input=x)

    model, data = Keyword(), batches()
    found = second_moments(model, data)["layer.weight"]
    assert torch.equal(found.matrix, second_moments(model.layer, data)["weight"].matrix)


# Dynamo looks at what comes into a part, and hides the warning from all but pytest.
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("how", ["whole", "in place", "a part"])
def test_a_compiled_model_is_observed_like_the_original(how: str) -> None:
    expected = second_moments(mlp(), batches())
    model: nn.Module = mlp()
    if how == "whole":
        model = compiled(model)
    elif how == "in place":
        model.compile(backend="eager")
    else:
        model[2] = compiled(model[2])
    model(batch()[0])  # the code is there before the pass sets its hooks
    found = second_moments(model, batches())
    assert list(found) == list(expected)
    for name, moment in expected.items():
        assert torch.equal(found[name].matrix, moment.matrix)


def test_the_pass_observes_an_encoded_model_as_it_is_encoded() -> None:
    model = mlp().double()
    rgo = RGO(model, sgd(model), seed=3)
    rgo.encoder.set_task(2)
    data = [(x.double(), y) for x, y in batches()]
    expected = oracle.moments(model, data)  # hooks and all, through torch.func
    for name, moment in second_moments(model, data).items():
        assert_near(moment.matrix, torch.from_numpy(expected[name]))
    plain = second_moments(mlp().double(), data)["2.weight"].matrix
    assert not torch.equal(plain, second_moments(model, data)["2.weight"].matrix)


def test_a_batch_is_freed_before_the_next_forward_pass() -> None:
    seen: list[StorageWeakRef] = []

    def watched(model: nn.Module, batch: object) -> Tensor:
        assert all(reference.expired() for reference in seen)
        hidden = model[0](torch.randn(4, 12))
        seen.append(StorageWeakRef(hidden.untyped_storage()))
        return model[2](hidden).sum(-1)

    second_moments(mlp(), [None] * 3, score=watched)
    assert len(seen) == 3


def test_the_pass_leaves_nothing_with_an_attached_projector() -> None:
    model = wide_mlp()
    projector = GradientProjector(model, sgd(model))
    moments = second_moments(model, batches(2, size=4))
    projector.consolidate(moments, damping=0.01)
    again = second_moments(model, batches(2, size=4))
    assert torch.equal(again["0.weight"].matrix, moments["0.weight"].matrix)
    assert not any(module.__dict__["forward"].sent.parts for module in model[::2])


def test_reentrant_checkpointing_is_refused_by_pytorch() -> None:
    first, second = nn.Linear(12, 8), nn.Linear(8, CLASSES)
    inner = partial(checkpoint, second, use_reentrant=True)
    model = nn.ModuleList([first, second])
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        second_moments(
            model, [batch()[0]], score=lambda model, x: inner(first(x)).sum(-1)
        )


class Gated(nn.Linear):
    """A layer of unknown kind, whose own parameter meets what a submodule gives."""

    def __init__(self) -> None:
        super().__init__(FEATURES, CLASSES)
        self.inner = nn.Linear(FEATURES, CLASSES)
        self.gate = nn.Parameter(torch.ones(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.gate * self.inner(x)


def test_second_moments_hold_no_graph() -> None:
    for name, moment in second_moments(Gated(), [batch()]).items():
        assert not any(tensor.requires_grad for tensor in moment), name


class Caching(nn.Linear):
    """Keeps its product with the weight's square in eval mode alone."""

    kept: Tensor | None = None

    def train(self, mode: bool = True) -> "Caching":
        if mode:
            self.kept = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return functional.linear(x, self.weight**2)
        if self.kept is None:
            self.kept = self.weight**2
        return functional.linear(x, self.kept)


@pytest.mark.filterwarnings("ignore:.*does not tell their gradient:UserWarning")
def test_what_a_module_keeps_in_eval_mode_is_not_left_there() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Dropout())
    model = nn.Sequential(inner, Caching(FEATURES, CLASSES, bias=False))
    inner[1].eval()  # as somebody wants it
    second_moments(model, batches(2))
    assert [m.training for m in model.modules()] == [True, True, True, False, True]
    with torch.no_grad():
        model[1].weight.add_(1)
    x, _ = batch()
    expected = functional.linear(inner[0](x), model[1].weight ** 2)
    assert torch.equal(model.eval()(x), expected)


class Mixed(nn.Module):
    """Computes in half precision inside, as a wrapper of a forward does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv3d(1, 6, 2), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = torch.relu(self.first(x[:, None])).mean((2, 3, 4))
            return self.head(hidden).float()


def test_what_is_called_again_is_called_under_the_same_autocast() -> None:
    torch.manual_seed(0)
    model, x = Mixed(), torch.randn(5, 3, 3, 3)
    data, given = [(x, torch.arange(5) % CLASSES)], []
    model.first.register_forward_hook(lambda *call: given.append(call[-1].dtype))
    found = second_moments(model, data, reduce="rms")["first.weight"]
    assert set(given) == {torch.bfloat16}
    exact = nn.Sequential(model.first, nn.ReLU(), Pool(), model.head)
    expected = second_moments(exact, [(x[:, None], data[0][1])], reduce="rms")
    near = expected["0.weight"].matrix
    torch.testing.assert_close(found.matrix, near, rtol=0.05, atol=0.05 * near.max())


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3, 4))
