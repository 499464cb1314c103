"""Each private name of PyTorch is still what it is taken for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.utils import parametrize

from rgo_torch.modules import torch_private

# The versions that all of this was tried on. Another one may do as well: what it must
# do is asked below, not which it is.
TRIED = ("2.6.0", "2.13.0")
HERE = torch.__version__.partition("+")[0]
CHANGED = (
    f"PyTorch {HERE} has another {{}} than those that rgo_torch was tried on, "
    f"{', '.join(TRIED)}: see rgo_torch/modules/torch_private.py"
)


def test_it_is_known_whether_torch_func_is_at_work() -> None:
    told: list[bool] = []

    def note(x: Tensor) -> Tensor:
        told.append(torch_private.is_functional())
        return x.sum()

    note(torch.ones(2))
    torch.vmap(note)(torch.ones(2, 2))
    torch.func.grad(note)(torch.ones(2))
    assert told == [False, True, True], CHANGED.format("torch.func")


def test_it_is_known_whether_derivatives_go_forward() -> None:
    message = CHANGED.format("forward_ad")
    assert not torch_private.is_forward_mode(), message
    with forward_ad.dual_level():
        assert torch_private.is_forward_mode(), message
    assert not torch_private.is_forward_mode(), message


def test_it_is_known_whether_anything_is_cast() -> None:
    message = CHANGED.format("autocast")
    assert not torch_private.is_any_autocast(), message
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch_private.is_any_autocast(), message


def test_the_rows_that_were_looked_up_are_those_of_the_graph() -> None:
    table, ids = torch.ones(4, 2, requires_grad=True), torch.tensor([[1, 3]])
    found = torch_private.looked_up(functional.embedding(ids, table).grad_fn)
    assert found is not None, CHANGED.format("embedding")
    assert torch.equal(found, ids), CHANGED.format("embedding")
    for other in (table * 2, table[ids], table.index_select(0, ids[0])):
        assert torch_private.looked_up(other.grad_fn) is None


def test_the_rounding_of_products_is_that_of_the_public_flag() -> None:
    flags = getattr(torch.backends.mkldnn, "matmul", None)
    told = torch_private.rounding_of_products()
    if flags is None or not hasattr(flags, "fp32_precision"):
        assert told is None, CHANGED.format("rounding of products")
        return
    before = flags.fp32_precision
    try:
        for rounding in ("ieee", "bf16"):
            flags.fp32_precision = rounding
            told = torch_private.rounding_of_products()
            assert told in (None, rounding), CHANGED.format("rounding of products")
    finally:
        flags.fp32_precision = before


class Watched(torch.autograd.Function):
    """Notes the backward pass that it is in, and what is called at its end."""

    passes: list[int]
    ended: list[int]

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        Watched.passes.append(torch_private.backward_pass())
        torch_private.at_the_end(lambda: Watched.ended.append(len(Watched.passes)))
        return gradient


def test_backward_passes_are_told_apart_and_their_ends_are_called() -> None:
    Watched.passes, Watched.ended = [], []
    x = torch.ones(2, requires_grad=True)
    twice = Watched.apply(Watched.apply(x))  # type: ignore[no-untyped-call]
    for _ in range(2):
        twice.sum().backward(retain_graph=True)
    one, same, other, there = Watched.passes
    assert one == same != other == there, CHANGED.format("number of backward passes")
    assert Watched.ended == [2, 2, 4, 4], CHANGED.format("end of a backward pass")


def test_parameters_are_those_of_the_module_itself() -> None:
    layer, message = nn.Linear(2, 2, bias=False), CHANGED.format("nn.Module")
    own = torch_private.own_parameters(layer)
    assert own["weight"] is layer.weight, message
    assert own["bias"] is None, message
    assert set(torch_private.own_parameters(nn.Sequential(layer))) == set(), message
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    assert "weight" not in torch_private.own_parameters(layer), message


def test_buffers_are_those_of_the_module_itself() -> None:
    norm, message = nn.BatchNorm1d(2), CHANGED.format("nn.Module")
    own = torch_private.own_buffers(norm)
    assert own["running_mean"] is norm.running_mean, message
    assert not torch_private.own_buffers(nn.Sequential(norm)), message


def test_a_stored_buffer_is_one_that_a_state_dict_has() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2)))
    model[1].register_buffer("table", torch.zeros(2), persistent=False)
    found = {name for _, name, _ in torch_private.stored_buffers(model)}
    parameters = {name for name, _ in model.named_parameters()}
    message = CHANGED.format("list of buffers that a state dict lacks")
    assert found == model.state_dict().keys() - parameters, message


def test_what_is_written_to_has_another_version() -> None:
    tensor, message = torch.zeros(2), CHANGED.format("count of versions")
    before = torch_private.version_of(tensor)
    tensor.sum()
    assert torch_private.version_of(tensor) == before, message
    tensor.add_(1)
    assert torch_private.version_of(tensor) > before, message


def test_hooks_on_gradients_and_steps_are_seen_until_they_are_removed() -> None:
    weight = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    both = (torch_private.gradient_hooks, weight), (torch_private.step_hooks, optimizer)
    for found, place in both:
        assert found(place) == (), CHANGED.format("place for hooks")

    def on_gradient(gradient: Tensor) -> None: ...

    def on_step(*args: Any) -> None: ...

    handles = [
        weight.register_hook(on_gradient),
        optimizer.register_step_pre_hook(on_step),
    ]
    for (found, place), hook in zip(both, (on_gradient, on_step), strict=True):
        assert found(place) == (hook,), CHANGED.format("place for hooks")
    for handle in handles:
        handle.remove()
    for found, place in both:
        assert found(place) == (), CHANGED.format("place for hooks")


def test_a_tensor_that_was_swapped_is_told_and_takes_hooks_again() -> None:
    message = CHANGED.format("address behind a tensor")
    weight, called = nn.Parameter(torch.ones(2)), []
    weight.register_hook(lambda gradient: called.append("first"))
    before = torch_private.address_of(weight)
    weight.data = torch.ones(3, dtype=torch.float64)
    weight.requires_grad_(False).requires_grad_(True)
    assert torch_private.address_of(weight) == before, message
    other = nn.Parameter(torch.ones(3))
    torch.utils.swap_tensors(weight, other)
    assert torch_private.address_of(weight) != before, message
    assert torch_private.address_of(other) == before, message
    weight.register_hook(lambda gradient: called.append("second"))
    weight.sum().backward()
    assert not called, CHANGED.format("list of hooks")
    torch_private.revive_gradient_hooks(weight)
    weight.sum().backward()
    assert called == ["first", "second"], CHANGED.format("list of hooks")


def test_optimizers_of_pytorch_call_hooks_and_others_may_not() -> None:
    class Bare:
        def step(self) -> None: ...

    weight = nn.Parameter(torch.zeros(2))
    message = CHANGED.format("Optimizer")
    assert torch_private.has_step_hooks(torch.optim.SGD([weight], lr=1.0)), message
    assert not torch_private.has_step_hooks(Bare())


def test_steps_that_are_going_on_are_counted_and_those_that_raised_are_not() -> None:
    class Twice(torch.optim.SGD):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            super().step()
            assert weight.isfinite().all(), "raised"

    weight = nn.Parameter(torch.zeros(2))
    torch.optim.SGD([weight])  # has the step of its class call hooks
    optimizer, found = Twice([weight], lr=1.0), list[int]()
    optimizer.register_step_pre_hook(
        lambda *_: found.append(torch_private.steps_of(optimizer))
    )
    weight.grad = torch.full((2,), torch.inf)
    for _ in range(2):
        with pytest.raises(AssertionError, match="raised"):
            optimizer.step()
    assert found == [1, 2, 1, 2], CHANGED.format("Optimizer")
    assert torch_private.steps_of(optimizer) == 0, CHANGED.format("Optimizer")


@pytest.mark.parametrize("kind", [nn.GRU, nn.GRUCell])
def test_a_recurrent_module_with_other_weights_is_known(kind: type) -> None:
    layer, message = kind(2, 3), CHANGED.format(kind.__name__)
    name = next(n for n, _ in layer.named_parameters() if n.startswith("weight_hh"))
    x, before = torch.ones(1, 2), layer.get_parameter(name)
    plain = layer(x)[0]
    assert not torch_private.has_substituted_weights(layer), message
    torch_private.substituted_weights(layer, {name: 2 * before})
    assert torch_private.has_substituted_weights(layer), message
    torch_private.substituted_weights(layer, {})
    assert not torch_private.has_substituted_weights(layer), message
    assert torch.equal(layer(x)[0], plain), message


def test_hooks_on_forward_are_seen_and_leave_no_flags() -> None:
    layer, message = nn.Linear(2, 2), CHANGED.format("place for hooks")

    def after(*args: Any) -> None: ...

    def before(*args: Any) -> None: ...

    layer.register_forward_hook(after, with_kwargs=True, always_call=True)
    layer.register_forward_pre_hook(before, with_kwargs=True)
    found = torch_private.forward_hooks(layer)
    assert [list(hooks.values()) for hooks in found] == [[after], [before]], message
    for hooks in found:
        hooks.clear()
    torch_private.forget_hook_flags(layer)
    clean = nn.Linear(2, 2)
    flags = [name for name in vars(clean) if "forward" in name and "hooks" in name]
    assert flags, message
    for name in flags:
        assert vars(layer)[name] == vars(clean)[name], message


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")
def test_what_fully_shard_casts_is_known(tmp_path: Path) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
        message = CHANGED.format("fully_shard")
        for casts in ((None, None), (torch.bfloat16, torch.float32)):
            layer = nn.Linear(2, 2)
            policy = MixedPrecisionPolicy(param_dtype=casts[0], output_dtype=casts[1])
            fully_shard(layer, mesh=mesh, mp_policy=policy)
            assert torch_private.casts_of(layer) == casts, message
            for hooks in torch_private.forward_hooks(layer):
                [hook] = hooks.values()
                assert hook.__module__.startswith("torch.distributed.fsdp"), message
    finally:
        distributed.destroy_process_group()


def test_what_was_compiled_in_place_is_known() -> None:
    layer, message = nn.Linear(2, 2), CHANGED.format("Module.compile")
    assert not torch_private.is_compiled_in_place(layer), message
    layer.compile(backend="eager")
    assert torch_private.is_compiled_in_place(layer), message


def test_a_compiled_model_keeps_the_original_where_it_is_looked_for() -> None:
    layer = nn.Linear(2, 2)
    compiled = torch.compile(layer, backend="eager")
    found = [getattr(compiled, name, None) for name in torch_private.INNER]
    assert found[0] is layer, CHANGED.format("torch.compile")


def test_a_convolution_of_ones_own_is_told_from_pytorchs() -> None:
    class Own(nn.Conv2d):
        def _conv_forward(self, *args: Any) -> Tensor:
            return 2 * super()._conv_forward(*args)

    message = CHANGED.format("nn.Conv2d")
    plain, own = nn.Conv2d(1, 1, 3, padding=1), Own(1, 1, 3, padding=1)
    assert torch_private.convolves_as(plain, nn.Conv2d), message
    assert not torch_private.convolves_as(own, nn.Conv2d), message
    x = torch.randn(2, 1, 4, 4)
    expected = functional.conv2d(x, plain.weight, plain.bias, padding=1)
    assert torch.equal(plain(x), expected), message
    own.load_state_dict(plain.state_dict())
    assert torch.equal(own(x), 2 * expected), message  # the method that is looked at


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN"
)
def test_a_packed_matrix_multiplies_any_number_of_rows() -> None:
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(60, 50, generator=draw)
    packed = torch_private.packed_for_products(matrix, 10)
    for count in (1, 10, 33):
        rows = torch.randn(50, count, generator=draw).mT
        with torch.no_grad():
            found = torch_private.multiply_packed(rows, packed)
        message = CHANGED.format("torch.ops.mkldnn")
        assert found.layout == torch.strided, message
        assert torch.allclose(found, rows @ matrix.mT, atol=1e-5), message
