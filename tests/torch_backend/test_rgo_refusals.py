"""What RGO refuses, and that nothing has changed then."""

import copy
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch_backend.learning import learn, learner
from torch_backend.nets import (
    CLASSES,
    assert_same,
    batch,
    batches,
    gradients_of,
    hooks_of,
    loss_of,
    mlp,
    sgd,
    weights_of,
)

from rgo_core import Relative
from rgo_torch import RGO, second_moments


def test_tasks_begin_and_end_in_order() -> None:
    _, rgo = learner()
    message = re.escape("no task to observe: call begin_task(0) before its training")
    with pytest.raises(RuntimeError, match=message):
        rgo.end_task(batches())
    with pytest.raises(RuntimeError, match="no task to consolidate"):
        rgo.consolidate({})
    with pytest.raises(ValueError, match="the next task is 0, got 1; to evaluate"):
        rgo.begin_task(1)
    with pytest.raises(ValueError, match="no task was begun yet, got 0"), rgo.task(0):
        pass
    rgo.begin_task(0)
    with pytest.raises(ValueError, match="is 0, which has not ended yet, got 1"):
        rgo.begin_task(1)
    rgo.end_task(batches())
    with pytest.raises(ValueError, match="the next task is 1, got 0"):
        rgo.begin_task(0)
    with pytest.raises(RuntimeError, match=r"call begin_task\(1\) before its"):
        rgo.end_task(batches())


@pytest.mark.parametrize("task", [2, -1, 0.0, "0", None])
def test_a_task_that_was_never_begun_does_not_come_back(task: object) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    message = re.escape(f"task must be one that was begun, 0..1, got {task!r}")
    with pytest.raises(ValueError, match=message), rgo.task(task):
        pass
    assert rgo.encoder.task_index == 1


def test_an_open_task_may_begin_again() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    before = copy.deepcopy(rgo.state_dict())
    rgo.begin_task(1)
    rgo.begin_task(1)
    rgo.begin_task()
    rgo.end_task(batches())
    assert rgo.state_dict()["finished"] == before["finished"] + 1


def nan_weights(model: nn.Module) -> list:
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    return batches()


def nan_inputs(model: nn.Module) -> list:
    x, y = batch()
    return [batch(seed=1), (x * torch.nan, y)]


def labels(value: int) -> Callable[[nn.Module], list]:
    return lambda model: [batch(), (batch()[0], torch.full((16,), value))]


def interrupted(model: nn.Module) -> object:
    yield batch()
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (nan_inputs, ValueError, "logits must be numbers, got NaN"),
        (nan_weights, ValueError, "logits must be numbers, got NaN"),
        (labels(CLASSES), ValueError, "labels must lie in 0..3"),
        (labels(-1), ValueError, "labels must lie in 0..3"),
        (lambda model: [], ValueError, "at least one batch, got none"),
        (lambda model: [batch(), batch()[0]], TypeError, "a batch must be a pair"),
        (interrupted, OSError, "the disk is gone"),
    ],
)
def test_a_task_that_fails_to_end_is_still_open_and_nothing_changed(
    data: Callable, error: type[Exception], message: str
) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    before = copy.deepcopy(rgo.state_dict())
    weights = weights_of(model)
    given = data(model)
    model.train()
    with pytest.raises(error, match=message):
        rgo.end_task(given)
    assert_same(rgo.state_dict(), before)
    assert all(module.training for module in model.modules())
    if data is not nan_weights:
        assert_same(weights_of(model), weights)
    model.load_state_dict(weights)
    rgo.end_task(batches())
    assert rgo.state_dict()["finished"] == 2


def test_a_projection_that_fails_leaves_the_task_open() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    before = copy.deepcopy(rgo.state_dict())
    moments = rgo.observe(batches())
    last = moments["4.bias"]
    moments["4.bias"] = last._replace(matrix=last.matrix * torch.inf)
    with pytest.raises(ValueError, match=r"4.bias: expected a matrix of finite"):
        rgo.consolidate(moments)
    assert_same(rgo.state_dict(), before)


def bound(**options: Any) -> dict[str, object]:
    return {"observe": partial(second_moments, **options)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0}, "damping must be a finite number > 0, got 0"),
        ({"damping": -1.0}, "damping must be a finite number > 0, got -1.0"),
        ({"damping": float("nan")}, "damping must be a finite number > 0, got nan"),
        ({"damping": float("inf")}, "damping must be a finite number > 0, got inf"),
        ({"damping": "0.1"}, "damping must be a finite number > 0, got '0.1'"),
        (bound(per="epoch"), "per must be None or 'sample' .* got 'epoch'"),
        (bound(reduce="sum"), "reduce must be None or 'mean' .* got 'sum'"),
        (bound(curvature="fisher"), "curvature must be .* got 'fisher'"),
        ({"project": "both"}, "project must be 'gradient' or 'update', got 'both'"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"unencoded": ["nothing"]}, "unencoded must name modules"),
        ({"unencoded": "0"}, "unencoded must be names in a list"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_leave_no_hooks(
    options: dict[str, object], message: str
) -> None:
    model = mlp()
    optimizer = sgd(model)
    with pytest.raises(ValueError, match=message):
        RGO(model, optimizer, **options)
    assert not list(hooks_of(model))
    assert not optimizer._optimizer_step_pre_hooks


def test_an_optimizer_of_another_model_is_refused_and_leaves_no_hooks() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="got one that holds none of the 6"):
        RGO(model, sgd(mlp()))
    assert not list(hooks_of(model))


def test_a_task_is_not_begun_while_another_is_looked_at() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    message = re.escape("begin_task must not be called inside of task()")
    with rgo.task(0), pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)
    rgo.begin_task(1)


def test_a_model_that_got_other_parameters_is_noticed() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    message = r"0.weight: the model has another parameter there .*; detach\(\) RGO, att"
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)


def test_a_parametrization_that_was_removed_is_noticed() -> None:
    model = mlp()
    parametrizations.weight_norm(model[0])
    rgo = RGO(model, sgd(model))
    parametrize.remove_parametrizations(model[0], "weight")
    message = (
        r"0.parametrizations.weight.original0: the model has no such parameter any"
    )
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(0)


def test_tensors_that_were_swapped_are_noticed_and_a_new_rgo_projects_them() -> None:
    model, rgo = learner(encode=False)
    learn(model, rgo, 0)
    weights = copy.deepcopy(model.state_dict())
    rgo.optimizer.zero_grad(set_to_none=True)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model.load_state_dict(weights)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    message = "0.weight: the hook that projects its gradient is gone, as where tensors"
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)
    state = rgo.state_dict()
    rgo.detach()
    again = RGO(model, sgd(model), encode=False)
    again.load_state_dict(state)
    again.begin_task(1)
    found = gradients_of(model, lambda: loss_of(model, *batch()))
    with again.projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, *batch()))
    for name, gradient in plain.items():
        P = again.projector.projections[name]
        torch.testing.assert_close(found[name], gradient @ P)
        assert not torch.equal(found[name], gradient)


def test_a_hook_that_was_removed_is_noticed() -> None:
    model, rgo = learner()
    model[2].bias._backward_hooks.clear()
    with pytest.raises(RuntimeError, match=r"2.bias: the hook that projects its grad"):
        rgo.begin_task(0)
    rgo.detach()
    rgo.projector.check_parameters()


def test_outputs_that_were_added_in_place_are_refused_by_name() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    for own in (model[4].weight, model[4].bias):
        own.data = torch.cat([own.data, own.data[:2]])
    message = rf"4.weight: has shape \({CLASSES + 2}, .* had \({CLASSES}, .*grown="
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)


@pytest.mark.parametrize("place", [0, 4])
def test_a_layer_that_was_replaced_is_refused_by_name(place: int) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    model[place] = copy.deepcopy(model[place])
    message = (
        f"^{place}: the Linear that RGO was attached to was replaced, there is a new "
        "Linear there, .* with grown= where"
    )
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)
    model[place] = nn.Identity()
    with pytest.raises(RuntimeError, match=f"^{place}: .* there is a new Identity"):
        rgo.begin_task(1)


def test_a_layer_that_is_gone_is_noticed_at_the_end_of_a_task_too() -> None:
    model, rgo = learner()
    rgo.begin_task(0)
    del model[4]
    with pytest.raises(RuntimeError, match=r"^4: the Linear .* there is none there"):
        rgo.end_task(batches())


def test_a_layer_that_was_added_is_refused_by_name() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    model.append(nn.Linear(CLASSES, CLASSES))
    message = "^5.bias, 5.weight: not there when RGO was attached, and not protected"
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)


def test_the_object_itself_is_not_copied() -> None:
    _, rgo = learner()
    with pytest.raises(TypeError, match="an RGO cannot be copied"):
        copy.deepcopy(rgo)


def test_a_curvature_of_rounding_is_not_taken_for_a_scale() -> None:
    message = "leaves the last layer a curvature of rounding alone"
    with pytest.raises(ValueError, match=message):
        learner(
            observe=partial(second_moments, curvature="exact"), damping=Relative(0.1)
        )


def test_after_detach_no_task_begins_and_none_comes_back_unencoded() -> None:
    model, rgo = learner()
    for task in range(2):
        learn(model, rgo, task)
    rgo.detach()
    with pytest.raises(RuntimeError, match="detached; attach a new one"):
        rgo.begin_task()
    with pytest.raises(RuntimeError, match="detached"), rgo.task(1):
        raise AssertionError("unreachable")
    assert rgo.state_dict()["finished"] == 2


def test_where_a_warning_is_an_error_no_hooks_are_left() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer, before = sgd(model), list(hooks_of(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="running statistics that every task"):
            RGO(model, optimizer, statistics="running")
    assert list(hooks_of(model)) == before
    with pytest.warns(UserWarning, match="running statistics that every task"):
        RGO(model, optimizer, statistics="running")
