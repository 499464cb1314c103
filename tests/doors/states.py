"""Doors of a network that changed, and of a state of another."""

import tempfile
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from doors.moments import moments_of_jax, of_matrix
from doors.one_layer import (
    NAN,
    PARAMS,
    Door,
    M,
    N,
    X,
    Y,
    both,
    of_torch,
    project_with_torch,
    rgo_with_torch,
)

import rgo_jax
import rgo_torch


def loaded_with_torch(state: Any) -> Any:
    return project_with_torch().load_state_dict(state)


def network_grows_with_torch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(N, M))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    projector = rgo_torch.GradientProjector(model, optimizer)
    model.append(torch.nn.Linear(M, 2))
    projector.check_parameters()


def layer_is_replaced_with_torch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(N, M))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    projector = rgo_torch.GradientProjector(model, optimizer)
    model[0] = torch.nn.Linear(N + 1, M)
    projector.check_parameters()


def update_with_jax(updates: Any, told: bool = False, state: Any = None) -> Any:
    layout = rgo_jax.find_layout({"0": PARAMS}) if told else None
    transformation = rgo_jax.project_gradients(layout)
    first = transformation.init({"0": PARAMS})
    return transformation.update(updates, first if state is None else state)


GROWN = {"0": PARAMS, "1": {"weight": jnp.ones((2, M)), "bias": jnp.zeros(2)}}
REPLACED = {"0": {"weight": jnp.ones((M, N + 1)), "bias": jnp.zeros(M)}}


def end_before_it_began_with_torch() -> None:
    rgo_with_torch().end_task([(of_torch(X), of_torch(Y))])


def look_at_a_task_with_torch(task: Any) -> None:
    rgo = rgo_with_torch()
    rgo.begin_task(0)
    with rgo.task(task):
        pass


def look_at_a_task_with_jax(task: Any) -> None:
    encoding = rgo_jax.make_encoding(M, tasks=1, name="0")
    rgo_jax.encode(jnp.ones(M), encoding, task)


def load_a_sketch_with_torch() -> None:
    sketched = rgo_with_torch(max_features=2, sketch_rows=2)
    rgo_with_torch().load_state_dict(sketched.state_dict())


def load_a_sketch_with_jax() -> None:
    layout = rgo_jax.find_layout(PARAMS, max_features=2, sketch_rows=2)
    with tempfile.TemporaryDirectory() as folder:
        rgo_jax.save(f"{folder}/state.npz", rgo_jax.empty_moments(PARAMS, layout))
        rgo_jax.load(f"{folder}/state.npz", rgo_jax.empty_moments(PARAMS))


def load_nan_with_torch() -> None:
    state = rgo_with_torch().state_dict()
    state["parameters"]["0.weight"]["matrix"][0, 0] = NAN
    rgo_with_torch().load_state_dict(state)


def load_nan_with_jax() -> None:
    with jax.enable_x64(True):
        moments = of_matrix(lambda matrix: matrix * NAN)(moments_of_jax())
    with tempfile.TemporaryDirectory() as folder:
        rgo_jax.save(f"{folder}/state.npz", moments)
        rgo_jax.load(f"{folder}/state.npz", rgo_jax.empty_moments(PARAMS))


CHANGED = (
    (
        "a network that grew",
        network_grows_with_torch,
        GROWN,
        "1.bias, 1.weight: not there when|1/bias, 1/weight: not there when",
    ),
    (
        "a layer that was replaced",
        layer_is_replaced_with_torch,
        REPLACED,
        "0: .* was replaced|0/weight: updates of shape .* do not fit",
    ),
)

STATES: dict[str, Door] = {
    **{
        f"{what}{', of a layout' if told else ''}": Door(
            by_torch,
            partial(update_with_jax, params, told),
            (RuntimeError, ValueError),
            message,
        )
        for what, by_torch, params, message in CHANGED
        for told in (False, True)
    },
    "a state of another form": Door(
        load_a_sketch_with_torch,
        load_a_sketch_with_jax,
        ValueError,
        "0.weight: expected a state with the tensors .* got|"
        "expected the 4 arrays of `like`, got",
    ),
    "a state of NaN": Door(
        load_nan_with_torch, load_nan_with_jax, ValueError, ".* finite.* got .*NaN"
    ),
    "a task that ends before anything began": Door(
        end_before_it_began_with_torch,
        lambda: rgo_jax.end_task((), moments_of_jax()),
        (RuntimeError, ValueError),
        r"call begin_task\(0\) before|the state of an optimizer with one project_grad",
    ),
    **{
        f"looking at task {task!r} of one": both(
            look_at_a_task_with_torch,
            look_at_a_task_with_jax,
            ValueError,
            f"task must be .*one.* 0..0, got {task!r}",
            task,
        )
        for task in (1, -1, 0.0, "0", None)
    },
    "a state of something else": Door(
        partial(loaded_with_torch, {"weight": ()}),
        partial(update_with_jax, {"0": PARAMS}, state=optax.EmptyState()),
        (ValueError, TypeError),
        "expected a state with the tensors|expected the ProjectionState",
    ),
    "a state of another network": Door(
        partial(loaded_with_torch, {"head": {}}),
        lambda: rgo_jax.end_task(optax.sgd(0.1).init(PARAMS), moments_of_jax()),
        ValueError,
        "the state is of another network|the state of an optimizer with one",
    ),
}
