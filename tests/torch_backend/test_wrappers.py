"""Names do not depend on what wraps a model; what a wrapper cuts up is refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    compiled,
    gradients_of,
    loss_of,
    mlp,
    sgd,
    train,
)
from torch_backend.worker_marks import NEEDS_FULLY_SHARD, NEEDS_GLOO

from rgo_torch import RGO, find_layout, second_moments
from rgo_torch.modules.wrappers import named_modules, named_parameters
from rgo_torch.projecting.optimizers import Project


@pytest.fixture
def one_worker(tmp_path: object) -> Iterator[None]:
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def checkpointed(model: nn.Module) -> nn.Module:
    apply_activation_checkpointing(
        model,
        checkpoint_wrapper_fn=checkpoint_wrapper,
        check_fn=lambda module: isinstance(module, nn.Linear),
    )
    return model


def with_a_compiled_part(model: nn.Sequential) -> nn.Module:
    model[2] = compiled(model[2])
    return model


def data_parallel(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


def with_a_parallel_part(model: nn.Sequential) -> nn.Module:
    model[2] = data_parallel(model[2])
    return model


def all_of_them(model: nn.Sequential) -> nn.Module:
    return compiled(data_parallel(checkpointed(model)))


WRAPS = [
    checkpointed,
    compiled,
    with_a_compiled_part,
    data_parallel,
    with_a_parallel_part,
    all_of_them,
]


@NEEDS_GLOO
@pytest.mark.usefixtures("one_worker")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # Dynamo's own
@pytest.mark.filterwarnings(
    "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
)
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_wrapped_model_has_the_names_and_the_gradients_of_a_plain_one(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    torch.compiler.reset()
    plain, inner = mlp(), mlp()
    wrapped = wrap(inner)
    assert [name for name, _ in named_modules(wrapped)] == [
        name for name, _ in plain.named_modules()
    ]
    found = []
    for model in (plain, wrapped):
        rgo = RGO(model, sgd(model))
        for task in range(2):
            rgo.begin_task(task)
            rgo.end_task(batches(seed=task))
        rgo.begin_task(2)
        gradients_of(model, lambda model=model: loss_of(model, *batch()))
        gradients = {name: p.grad for name, p in named_parameters(model)}
        found.append((list(rgo.projector.parameters), gradients))
    assert found[0][0] == [name for name, _ in plain.named_parameters()]
    assert_same(*found)


@pytest.mark.parametrize("models", [[nn.Linear(2, 2)], "model", None])
def test_what_is_no_module_is_refused_with_what_to_do(models: Any) -> None:
    message = r"model must be an nn.Module, got a \w+; of several.*nn.ModuleList\(\["
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    for use in (
        lambda: RGO(models, optimizer),
        lambda: second_moments(models, []),
        lambda: find_layout(models),
    ):
        with pytest.raises(TypeError, match=message):
            use()


def test_a_tied_parameter_has_all_of_its_names_and_a_shared_module_one() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model.append(model[0])
    names = [name for name, _ in named_parameters(model)]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]


@NEEDS_GLOO
@pytest.mark.usefixtures("one_worker")
@pytest.mark.filterwarnings("ignore:DTensor random operators:UserWarning")
def test_tensor_parallelism_over_one_worker_is_none() -> None:
    from torch.distributed.tensor import parallel

    mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
    plan = {"0": parallel.ColwiseParallel(), "2": parallel.RowwiseParallel()}
    found = []
    for model in (parallel.parallelize_module(mlp(), mesh, plan), mlp()):
        optimizer = sgd(model)
        rgo = RGO(model, optimizer, project="update")
        for task in range(2):
            rgo.begin_task(task)
            train(model, optimizer, batches(seed=task))
            rgo.end_task(batches(seed=task))
        found.append(rgo.state_dict()["parameters"])
    assert_same(*found)


@NEEDS_GLOO
@NEEDS_FULLY_SHARD
@pytest.mark.usefixtures("one_worker")
@pytest.mark.parametrize("project", ["gradient", "update"])
def test_a_sharded_model_in_half_precision_is_observed_as_it_computes(
    project: Project,
) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    halves = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32}
    inside = MixedPrecisionPolicy(**halves)
    outside = MixedPrecisionPolicy(**halves, output_dtype=torch.float32)
    mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
    sharded, plain = mlp(), mlp()
    fully_shard(sharded[2], mesh=mesh, mp_policy=inside)
    fully_shard(sharded, mesh=mesh, mp_policy=outside)
    found = []
    for model in (sharded, plain):
        optimizer = sgd(model)
        rgo = RGO(model, optimizer, project=project)
        rgo.begin_task(0)
        rgo.end_task(batches())
        rgo.begin_task(1)
        train(model, optimizer, batches(seed=1))
        outputs = model(batch()[0]).detach()
        stepped = [p.dtype for p in optimizer.param_groups[0]["params"]]
        assert {*stepped, outputs.dtype} == {torch.float32}
        matrices = [m.matrix for m in rgo.projector.moments.values()]
        found.append([outputs, *matrices])
    for half_precise, precise in zip(*found, strict=True):
        error = float((half_precise - precise).norm() / precise.norm())
        assert 0 < error < 0.03


@pytest.mark.parametrize(
    ("mark", "what"),
    [("_fqns", "a FlatParameter of FSDP"), ("ds_id", "a part that ZeRO 3 left")],
)
def test_what_other_libraries_cut_up_is_refused(mark: str, what: str) -> None:
    model = mlp()
    setattr(model[2].weight, mark, 1)
    with pytest.raises(ValueError, match=f"2.weight: expected .* got {what}: RGO"):
        RGO(model, sgd(model))
