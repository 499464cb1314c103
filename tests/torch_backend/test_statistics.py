"""Running statistics of normalisations are kept for each task, frozen, or left."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import CLASSES, FEATURES, assert_same, hooks_of, sgd, train
from torch_backend.normalised import Normalised, data, learned, running

from rgo_torch import RGO
from rgo_torch.statistics import Statistics

NAN = float("nan")


def test_each_task_is_tested_with_its_own() -> None:
    rgo, model = learned("per-task", tasks=1)
    first = running(model)
    rgo.begin_task(1)
    train(model, rgo_optimizer(model), data(1))
    rgo.end_task(data(1))
    second = running(model)
    assert not torch.allclose(first[0], second[0])
    with rgo.task(0):
        assert_same(running(model), first)
    with rgo.task(1):
        assert_same(running(model), second)
    assert_same(running(model), second)


def rgo_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return sgd(model)


def test_a_task_under_way_is_tested_with_those_of_the_moment() -> None:
    rgo, model = learned("per-task", tasks=1)
    rgo.begin_task(1)
    model(data(1)[0][0])
    now = running(model)
    with rgo.task(1):
        assert_same(running(model), now)


def test_frozen_ones_are_those_of_the_first_task_in_training_too() -> None:
    rgo, model = learned("frozen", tasks=1)
    first = running(model)
    rgo.begin_task(1)
    x = data(1)[0][0]
    assert torch.equal(model.train()(x), model.eval()(x))
    model.train()
    train(model, sgd(model), data(1))
    assert_same(running(model), first)
    assert model.norm.training
    rgo.detach()
    assert not list(hooks_of(model))
    model(x)
    assert not torch.equal(running(model)[0], first[0])


def test_running_ones_are_pytorchs() -> None:
    with pytest.warns(UserWarning, match="norm: running statistics that every task"):
        rgo, model = learned("running")
    last = running(model)
    with rgo.task(0):
        assert_same(running(model), last)


def test_they_are_part_of_the_state() -> None:
    rgo, model = learned("per-task")
    state = copy.deepcopy(rgo.state_dict())
    other = Normalised()
    other.load_state_dict(model.state_dict())
    again = RGO(other, sgd(other), statistics="per-task")
    again.load_state_dict(state)
    x = data(0)[0][0]
    with rgo.task(0), again.task(0):
        assert torch.equal(model.eval()(x), other.eval()(x))
    assert_same(again.state_dict(), state)


def test_a_frozen_state_is_frozen_where_it_goes_on() -> None:
    rgo, model = learned("frozen")
    rgo.begin_task(2)
    other = Normalised()
    other.load_state_dict(model.state_dict())
    again = RGO(other, sgd(other), statistics="frozen")
    again.load_state_dict(rgo.state_dict())
    other.train()(data(2)[0][0])
    assert_same(running(other), running(model))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda kept: kept[:1], "expected running statistics of 2 tasks, .* got 1"),
        (lambda kept: None, "statistics of 2 tasks, for .*'per-task', got NoneType"),
        (lambda kept: [kept[0], {}], "norm: expected a finite running mean of shape"),
        (
            lambda kept: [kept[0] | {"norm.variance": torch.ones(3)}, kept[1]],
            r"norm: expected a finite running variance of shape \(8,\) in the state",
        ),
        (
            lambda kept: [
                kept[0] | {"norm.mean": torch.full((8,), torch.nan)},
                kept[1],
            ],
            "norm: expected a finite running mean",
        ),
    ],
)
def test_statistics_that_do_not_fit_are_refused_and_nothing_changes(
    spoil: object, message: str
) -> None:
    rgo, _ = learned("per-task")
    state, before = rgo.state_dict(), copy.deepcopy(rgo.state_dict())
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(state | {"statistics": spoil(state["statistics"])})
    assert_same(rgo.state_dict(), before)


def test_an_unknown_kind_is_refused() -> None:
    model = Normalised()
    with pytest.raises(ValueError, match="statistics must be 'per-task' or 'frozen'"):
        RGO(model, sgd(model), statistics="none")
    assert not list(hooks_of(model))


@pytest.mark.parametrize("statistics", ["per-task", "frozen", "running"])
def test_a_normalisation_without_parameters_that_was_replaced_is_refused(
    statistics: Statistics,
) -> None:
    model = nn.Sequential(
        nn.Linear(12, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 4)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of running statistics
        rgo = RGO(model, sgd(model), statistics=statistics)
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if statistics == "running":  # as PyTorch leaves them
        rgo.begin_task(0)
        return
    message = (
        "^1: the BatchNorm1d that RGO was attached to was replaced, there is a new "
        "SyncBatchNorm there, and its running statistics are not kept"
    )
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(0)


def test_a_normalisation_without_parameters_that_was_added_is_refused() -> None:
    model = nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 4))
    rgo = RGO(model, sgd(model))
    model.append(nn.BatchNorm1d(4, affine=False))
    message = "^2: the BatchNorm1d was not there when RGO was attached, and its running"
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(0)


class Scaled(nn.Linear):
    """Divides by a scale that follows what it sees, as codebooks and observers do."""

    def __init__(self, name: str, *, persistent: bool = True) -> None:
        super().__init__(FEATURES, CLASSES)
        self.seen = name
        self.register_buffer(name, torch.ones(()), persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.get_buffer(self.seen)
        if self.training:
            scale.lerp_(x.detach().std(), 0.1)
        return super().forward(x) / scale


class Unfilled(nn.Linear):
    """Has a buffer that nothing was written to."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("memory", torch.full((2,), NAN))


def learn_one(model: nn.Module) -> RGO:
    rgo = RGO(model, sgd(model))
    rgo.begin_task(0)
    train(model, rgo_optimizer(model), data(1))
    rgo.end_task(data(1))
    return rgo


@pytest.mark.parametrize("name", ["scale", "running_mean"])
def test_a_buffer_that_training_changes_is_told_of(name: str) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, FEATURES), Scaled(name))
    with pytest.warns(UserWarning, match=f"1.{name}: buffers that training changed"):
        learn_one(model)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scaled("scale", persistent=False),
        lambda: Unfilled(FEATURES, CLASSES),
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(FEATURES, CLASSES)),
        lambda: nn.utils.spectral_norm(nn.Linear(FEATURES, CLASSES)),
        lambda: nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, CLASSES)),
    ],
    ids=["table", "unfilled", "spectral", "older-spectral", "kept"],
)
def test_no_word_of_buffers_that_follow_from_others_or_are_kept(
    make: Callable[[], nn.Module],
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*buffers that training changed")
        warnings.filterwarnings("ignore", category=FutureWarning)
        learn_one(make())


def test_a_buffer_has_the_name_that_the_original_model_has_for_it() -> None:
    model = nn.DataParallel(Scaled("scale"))
    with pytest.warns(UserWarning, match="^scale: buffers that training changed"):
        learn_one(model)


def test_a_warning_that_is_an_error_leaves_the_task_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, FEATURES), Scaled("scale"))
    rgo = RGO(model, sgd(model))
    rgo.begin_task(0)
    train(model, rgo_optimizer(model), data(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="buffers that training changed"):
            rgo.end_task(data(1))
    assert (rgo.current, rgo.projector.moments) == (0, {})
    with pytest.warns(UserWarning, match="buffers that training changed"):
        rgo.end_task(data(1))
    samples = sum(len(y) for _, y in data(1))
    assert int(rgo.projector.moments["0.bias"].count) == samples


def test_averages_over_all_batches_are_of_one_task() -> None:
    model = Normalised()
    model.norm.momentum = None
    rgo, optimizer = RGO(model, sgd(model)), rgo_optimizer(model)
    seen: list[Tensor] = []
    model.first.register_forward_hook(lambda *call: seen.append(call[-1].mean(0)))
    for task in range(2):
        rgo.begin_task(task)
        seen.clear()
        train(model, optimizer, data(task)[:2])
        rgo.begin_task(task)  # goes on
        train(model, optimizer, data(task)[2:])
        torch.testing.assert_close(model.norm.running_mean, sum(seen) / 4)
        rgo.end_task(data(task))
