"""A closure runs once, before the step, where the optimizer can do without."""

from collections.abc import Callable

import pytest
import torch
from integrations.own_loop import MakeOptimizer, adam, network, sgd, task_data
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch_backend.nets import assert_same, weights_of

from rgo_torch import RGO
from rgo_torch.integrations._closures import run_closures_first


def closure_of(model: nn.Module, optimizer: Optimizer) -> Callable[[], Tensor]:
    x, y = task_data(0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("make_optimizer", [sgd, adam])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_step_with_a_closure_is_the_step_after_it(
    make_optimizer: MakeOptimizer, by_name: bool
) -> None:
    models = network(), network()
    for model in models:
        optimizer = make_optimizer(model.parameters())
        closure = closure_of(model, optimizer)
        if model is models[0]:
            run_closures_first(optimizer)
            rgo = RGO(model, optimizer, project="update")
        else:
            rgo = RGO(model, optimizer, project="update")
        for task in range(2):
            rgo.begin_task(task)
            for _ in range(3):
                if model is models[1]:
                    closure()
                    optimizer.step()
                elif by_name:
                    optimizer.step(closure=closure)
                else:
                    optimizer.step(closure)
            rgo.end_task([task_data(task)])
    assert_same(weights_of(models[0]), weights_of(models[1]))


def test_a_closure_runs_once_with_gradients_enabled() -> None:
    model = network()
    optimizer = sgd(model.parameters())
    run_closures_first(optimizer)
    enabled = []
    with torch.no_grad():
        optimizer.step(lambda: enabled.append(torch.is_grad_enabled()))
    assert enabled == [True]


def test_a_step_without_a_closure_stays_one() -> None:
    model = network()
    optimizer = sgd(model.parameters())
    run_closures_first(optimizer)
    optimizer.step()
    optimizer.step(None)


def test_an_optimizer_that_needs_its_closure_still_gets_it() -> None:
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters())
    run_closures_first(optimizer)
    before = weights_of(model)
    optimizer.step(closure_of(model, optimizer))
    assert not torch.equal(weights_of(model)["0.weight"], before["0.weight"])


def test_after_removal_the_optimizer_runs_the_closure_itself() -> None:
    model = network()
    optimizer = sgd(model.parameters())
    run_closures_first(optimizer).remove()
    assert optimizer.step(closure_of(model, optimizer)) is not None
