"""What accelerate prepares learns, with RGO, as one's own loop does."""

from pathlib import Path
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
from torch import nn
from torch.nn import functional
from torch_backend.nets import assert_same, weights_of
from torch_backend.tolerance import assert_near

accelerate = pytest.importorskip("accelerate")

from rgo_torch.integrations.accelerated import AcceleratedRGO  # noqa: E402

OPTIMIZERS = [(sgd, "gradient"), (adam, "update")]


def prepared(model: nn.Module, make_optimizer: MakeOptimizer, **options: Any) -> Any:
    accelerator = accelerate.Accelerator(cpu=True, **options)
    return accelerator, *accelerator.prepare(model, make_optimizer(model.parameters()))


@pytest.mark.parametrize(("make_optimizer", "project"), OPTIMIZERS)
def test_a_prepared_loop_equals_a_loop_of_one_s_own(
    make_optimizer: MakeOptimizer, project: str
) -> None:
    model, expected = network(), network()
    accelerator, model, optimizer = prepared(model, make_optimizer)
    rgo = AcceleratedRGO(model, optimizer, project=project, seed=3)
    for task in range(TASKS):
        if task:  # a new optimizer, as in the loop of one's own
            optimizer = accelerator.prepare(make_optimizer(model.parameters()))
            rgo.attach(model, optimizer)
        rgo.begin_task(task)
        x, y = task_data(task)
        for _ in range(STEPS):
            optimizer.zero_grad()
            accelerator.backward(functional.cross_entropy(model(x), y))
            optimizer.step()
        rgo.end_task([(x, y)], mask=mask_of(task))
    own = learn(expected, make_optimizer, project=project, seed=3, mask=mask_of)
    assert_same(weights_of(model), weights_of(expected))
    assert_same(rgo.state_dict(), own.state_dict())


@pytest.mark.parametrize(("make_optimizer", "project"), OPTIMIZERS)
def test_accumulated_halves_of_a_batch_make_its_step(
    make_optimizer: MakeOptimizer, project: str
) -> None:
    model, expected = network(), network()
    accelerator, model, optimizer = prepared(
        model, make_optimizer, gradient_accumulation_steps=2
    )
    rgo = AcceleratedRGO(model, optimizer, project=project)
    for task in range(TASKS):
        if task:
            optimizer = accelerator.prepare(make_optimizer(model.parameters()))
            rgo.attach(model, optimizer)
        rgo.begin_task()
        x, y = task_data(task)
        for step in range(2 * STEPS):
            half = slice(step % 2, None, 2)
            with accelerator.accumulate(model):
                loss = functional.cross_entropy(model(x[half]), y[half])
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        rgo.end_task([(x, y)])
    own = learn(expected, make_optimizer, project=project)
    for name, weight in weights_of(expected).items():
        assert_near(weights_of(model)[name], weight, amplification=1e4)
    assert rgo.state_dict()["finished"] == own.state_dict()["finished"]


def test_its_state_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    accelerator, model, optimizer = prepared(network(), sgd)
    rgo = AcceleratedRGO(model, optimizer)
    accelerator.register_for_checkpointing(rgo)
    rgo.begin_task()
    rgo.end_task([task_data(0)])
    state = rgo.state_dict()
    accelerator.save_state(tmp_path)
    rgo.begin_task()
    rgo.end_task([task_data(1)])
    accelerator.load_state(tmp_path)
    assert_same(rgo.state_dict(), state)


def test_an_adaptive_optimizer_is_known_behind_its_wrapper() -> None:
    _, model, optimizer = prepared(network(), adam)
    with pytest.warns(UserWarning, match="Adam rescales the gradient"):
        AcceleratedRGO(model, optimizer, project="gradient")
    _, model, optimizer = prepared(network(), adam)
    assert AcceleratedRGO(model, optimizer).rgo.projector.project == "update"


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer or a wrap"):
        AcceleratedRGO(network(), torch.zeros(1))
