from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from bench.short_runs import make_method
from bench.small_settings import (
    CLASSES,
    FEATURES,
    begin,
    samples,
    tiny_setting,
    weights,
)
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods import (
    METHODS,
    Method,
    MethodOptions,
    NetworkMethod,
    register_method,
)
from rgo_bench.methods.method import fitting, masked

CPU = torch.device("cpu")
FIRST_TWO = torch.tensor([True, True, False, False])
HALVES = (FIRST_TWO, ~FIRST_TWO)
SETTING = tiny_setting()


@dataclass(frozen=True, kw_only=True)
class SomeOptions(MethodOptions):
    strength: float = 2.0


class Plain(NetworkMethod):
    pass


def plain(seed: int = 0, masks: Sequence[Tensor | None] = (None,)) -> Plain:
    return Plain(tiny_setting(masks)._replace(seed=seed), MethodOptions())


def test_options_are_stated_by_name() -> None:
    assert SomeOptions().as_dict() == {"strength": 2.0}
    assert MethodOptions().as_dict() == {}


def test_a_method_must_say_how_it_steps_and_predicts_and_what_it_keeps() -> None:
    with pytest.raises(TypeError, match=r"kept.*predict.*step"):
        Method(SETTING, MethodOptions())


def test_every_method_has_a_summary_and_its_own_options() -> None:
    for name, entry in METHODS.items():
        assert entry.summary
        assert isinstance(entry.defaults, MethodOptions)
        assert isinstance(make_method(name), Method)


def test_masking_leaves_classes_in_play_and_takes_away_the_others() -> None:
    logits = torch.tensor([[1.0, -2.0, 3.0, 0.0]])
    assert masked(logits, None) is logits
    assert masked(logits, FIRST_TWO).tolist() == [[1, -2, -torch.inf, -torch.inf]]
    assert logits.tolist() == [[1, -2, 3, 0]]


def test_a_step_is_one_of_sgd_on_the_mean_cross_entropy() -> None:
    method = plain()
    x, y = samples(0, SETTING)
    before = weights(method)
    loss = functional.cross_entropy(method.network(x), y)
    gradients = torch.autograd.grad(loss, list(method.network.parameters()))
    method.begin_task(0)
    method.step(x, y)
    after = weights(method)
    for name, gradient in zip(before, gradients, strict=True):
        assert torch.equal(after[name], before[name].add(gradient, alpha=-0.1))


def test_a_step_forgets_the_gradient_of_the_one_before() -> None:
    one, two = plain(), plain()
    x, y = samples(0, SETTING)
    two.network(x).sum().backward()
    for method in (one, two):
        method.step(x, y)
    assert all(map(torch.equal, one.network.parameters(), two.network.parameters()))


@pytest.mark.parametrize("name", METHODS)
def test_predict_masks_the_classes_out_of_play_in_the_task_asked_for(name: str) -> None:
    method = make_method(name, masks=HALVES)
    for task in range(2):
        x, y = samples(task, method.setting)
        method.begin_task(task)
        method.step(x, y)
        method.end_task(x, y, Clock(CPU))
        for asked in (task,) if method.keeps_tasks else range(task + 1):
            logits = method.predict(x, asked)
            assert logits[:, HALVES[asked]].isfinite().all()
            assert (logits[:, ~HALVES[asked]] == -torch.inf).all()


def test_classes_out_of_play_are_not_trained() -> None:
    method = plain(masks=HALVES)
    head = list(method.network.children())[-1]
    before = head.weight.detach().clone()
    method.begin_task(1)
    method.step(*samples(1, method.setting))
    assert torch.equal(head.weight[HALVES[0]], before[HALVES[0]])
    assert not torch.equal(head.weight[HALVES[1]], before[HALVES[1]])


def test_the_network_of_a_setting_comes_from_its_seed() -> None:
    expected = SETTING.make_network(4).state_dict()
    found = plain(seed=4).network.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.equal(plain(seed=3).network[0].weight, expected["0.weight"])


def test_a_state_holds_all_of_network_and_optimizer() -> None:
    method, other = plain(), plain(seed=4)
    method.step(*samples(0, SETTING))
    other.load_state_dict(method.state_dict())
    for each in (method, other):
        each.step(*samples(1, SETTING))
    one, two = method.network.parameters(), other.network.parameters()
    assert all(map(torch.equal, one, two))


def test_predictions_are_made_in_eval_mode_and_training_goes_on() -> None:
    network = nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.BatchNorm1d(CLASSES))
    setting = tiny_setting()._replace(make_network=lambda seed: network)
    method = NetworkMethod(setting, MethodOptions())
    x, y = begin(method, 0)
    method.step(x, y)
    before = network[1].running_mean.clone()
    single = torch.cat([method.predict(row[None], 0) for row in x])
    torch.testing.assert_close(method.predict(x, 0), single)
    assert torch.equal(network[1].running_mean, before)
    assert network.training
    assert network[1].training


@pytest.mark.parametrize(
    ("shape", "expected"), [((4,), 10), ((5, 5), 4), ((100,), 1), ((1000,), 1)]
)
def test_as_many_samples_as_fit_are_taken_and_one_at_the_least(
    shape: tuple[int, ...], expected: int
) -> None:
    assert fitting(10, 100, shape) == expected


def test_a_method_takes_no_name_that_there_is() -> None:
    with pytest.raises(
        ValueError, match="expected a new name, got 'rgo', which exists"
    ):
        register_method("rgo", METHODS["rgo"])


def test_what_cannot_be_kept_is_told_by_its_kind() -> None:
    class Counting(Plain):
        kept = (*Plain.kept, "steps")
        steps = 3

    method = Counting(tiny_setting(), MethodOptions())
    with pytest.raises(TypeError, match=r"kept: expected a mapping, .* got a int"):
        method.state_dict()
