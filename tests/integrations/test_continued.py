"""One RGO goes on over the optimizers and loops that come for every task."""

from typing import Any

import pytest
import torch
from integrations.own_loop import (
    STEPS,
    TASKS,
    MakeOptimizer,
    adam,
    learn,
    mask_of,
    network,
    sgd,
    task_data,
)
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.nets import assert_same, hooks_of, weights_of

from rgo_torch.integrations._continued import Continued


class Tasks(Continued):
    """The least that a library's module adds."""

    def __init__(self, *, mask: Any = None, score: Any = None, **options: Any) -> None:
        limit = options.pop("max_batches", None)
        super().__init__(options, mask=mask, score=score, max_batches=limit)

    def begin(self, model: nn.Module, optimizer: Any) -> None:
        self._begin(model, optimizer, None)

    def end(self, batches: Any) -> None:
        self._end(batches)


class Wrapper(torch.optim.Optimizer):
    """Holds an optimizer as Accelerate does: without the state of its class."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, task: int) -> None:
    x, y = task_data(task)
    for _ in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def learned(tasks: Tasks, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
    for task in range(TASKS):
        optimizer = make_optimizer(model.parameters())
        tasks.begin(model, optimizer)
        steps(model, optimizer, task)
        tasks.end([task_data(task)])


@pytest.mark.parametrize(
    ("make_optimizer", "project"), [(sgd, "gradient"), (adam, "update")]
)
def test_a_new_optimizer_for_every_task_goes_on_where_the_last_one_stood(
    make_optimizer: MakeOptimizer, project: str
) -> None:
    model, expected = network(), network()
    tasks = Tasks(project=project, seed=3)
    learned(tasks, model, make_optimizer)
    rgo = learn(expected, make_optimizer, project=project, seed=3)
    assert_same(weights_of(model), weights_of(expected))
    assert_same(tasks.state_dict(), rgo.state_dict())


def test_the_same_optimizer_keeps_its_rgo() -> None:
    model, tasks = network(), Tasks()
    optimizer = sgd(model.parameters())
    tasks.attach(model, optimizer)
    first = tasks.rgo
    tasks.attach(model, Wrapper(Wrapper(optimizer)))
    assert tasks.rgo is first


def test_an_earlier_optimizer_is_left_without_hooks() -> None:
    model, tasks = network(), Tasks(project="update")
    first, second = sgd(model.parameters()), sgd(model.parameters())
    tasks.attach(model, first)
    hooks = len(list(hooks_of(model)))
    tasks.attach(model, second)
    assert len(list(hooks_of(model))) == hooks
    assert not first._optimizer_step_pre_hooks
    assert not first._optimizer_step_post_hooks
    assert len(second._optimizer_step_pre_hooks) == 2


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_detached_they_are_plain_until_attached_again(project: str) -> None:
    model, tasks = network(), Tasks(project=project)
    optimizer = sgd(model.parameters())
    tasks.attach(model, optimizer)
    state = tasks.state_dict()
    tasks.detach()
    assert not list(hooks_of(model))
    assert not optimizer._optimizer_step_pre_hooks
    tasks.attach(model, optimizer)
    assert list(hooks_of(model))
    assert_same(tasks.state_dict(), state)


def test_each_task_is_observed_with_its_mask() -> None:
    model, expected = network(), network()
    tasks = Tasks(mask=mask_of)
    learned(tasks, model, sgd)
    rgo = learn(expected, sgd, mask=mask_of)
    assert_same(tasks.state_dict(), rgo.state_dict())


def test_no_more_batches_than_allowed_are_observed() -> None:
    model, tasks = network(), Tasks(max_batches=2)
    tasks.begin(model, sgd(model.parameters()))
    tasks.end(task_data(task) for task in range(5))
    parameters = tasks.state_dict()["parameters"].values()
    assert {int(entry["count"]) for entry in parameters} == {2 * 16}


def test_the_batches_that_are_observed_stand_for_all_of_a_loader() -> None:
    given = [task_data(task) for task in range(5)]
    found = []
    for limit in (None, 2):
        model, tasks = network(), Tasks(max_batches=limit, damping=0.1)
        tasks.begin(model, sgd(model.parameters()))
        tasks.end(given if limit else given[:2])
        found.append(tasks.rgo.projector.moments)
    part, scaled = found
    for name, moment in part.items():
        torch.testing.assert_close(scaled[name].matrix, moment.matrix * 2.5)


def test_a_state_is_taken_over_before_and_after_the_first_training() -> None:
    model = network()
    tasks = Tasks(seed=1)
    learned(tasks, model, sgd)
    state = tasks.state_dict()
    for early in (True, False):
        others, other = Tasks(seed=1), network()
        assert others.state_dict() == {}
        if early:
            others.load_state_dict(state)
            assert_same(others.state_dict(), state)
        others.attach(other, sgd(other.parameters()))
        if not early:
            others.load_state_dict(state)
        assert_same(others.state_dict(), state)
        other.load_state_dict(model.state_dict())
        x, _ = task_data(0)
        for task in range(TASKS):
            with tasks.task(task), others.task(task):
                assert torch.equal(other(x), model(x))


def test_the_table_is_that_of_rgo() -> None:
    model, tasks = network(), Tasks()
    tasks.attach(model, sgd(model.parameters()))
    assert tasks.summary() == tasks.rgo.summary()


def test_what_was_learned_outlives_an_optimizer_that_is_refused() -> None:
    model, tasks = network(), Tasks()
    learned(tasks, model, sgd)
    state = tasks.state_dict()
    with pytest.raises(ValueError, match="must hold the model's parameters"):
        tasks.attach(model, sgd([nn.Parameter(torch.zeros(1))]))
    assert not list(hooks_of(model))
    tasks.attach(model, sgd(model.parameters()))
    assert_same(tasks.state_dict(), state)


def test_a_state_that_does_not_fit_leaves_nothing_attached() -> None:
    model, tasks = network(), Tasks(project="update")
    optimizer = sgd(model.parameters())
    tasks.load_state_dict({"version": 1})
    with pytest.raises(ValueError, match="not a state of RGO"):
        tasks.attach(model, optimizer)
    assert not list(hooks_of(model))
    assert not optimizer._optimizer_step_pre_hooks


def test_an_unknown_option_is_refused_before_any_training() -> None:
    with pytest.raises(TypeError, match="RGO has no option 'dampnig'"):
        Tasks(dampnig=0.1)


@pytest.mark.parametrize("limit", [0, -1, 2.0, "all"])
def test_a_limit_that_is_no_count_is_refused(limit: object) -> None:
    with pytest.raises(ValueError, match="max_batches must be an integer >= 1, got"):
        Tasks(max_batches=limit)


def test_a_score_and_a_mask_are_not_taken_together() -> None:
    def score(model: nn.Module, batch: Any) -> Tensor:
        return model(batch[0]).sum(-1)

    with pytest.raises(ValueError, match="must see to the mask itself"):
        Tasks(mask=mask_of, score=score)


def test_without_any_training_there_is_no_rgo() -> None:
    with pytest.raises(RuntimeError, match=r"call attach\(model, optimizer\)"):
        Tasks().task(0)


def test_another_model_is_refused() -> None:
    model, other, tasks = network(), network(), Tasks()
    tasks.attach(model, sgd(model.parameters()))
    with pytest.raises(ValueError, match="learned the tasks before, got another"):
        tasks.attach(other, sgd(other.parameters()))


def test_a_head_that_comes_later_is_refused() -> None:
    model, tasks = network(), Tasks()
    tasks.attach(model, sgd(model.parameters()))
    model.add_module("late", nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"new ones: \['late.bias', 'late.weight'\]"):
        tasks.attach(model, sgd(model.parameters()))


def test_what_is_no_optimizer_is_refused() -> None:
    model = network()
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer or a wrap"):
        Tasks().attach(model, "adam")
