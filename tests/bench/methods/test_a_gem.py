import copy

import pytest
import torch
from bench.small_settings import (
    SPLIT,
    assert_resumes,
    assert_same,
    begin,
    beside_sgd,
    learn,
    tiny_setting,
    weights,
)
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.replay import AGEM, ReplayOptions, without_conflict


def pieces(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((3, 4), (3,), (2,))]


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts]).double()


@pytest.mark.parametrize("seed", range(20))
def test_the_result_never_points_against_the_reference(seed: int) -> None:
    gradient, reference = pieces(seed), pieces(1000 + seed)
    resolved = flat(without_conflict(gradient, reference))
    eps = torch.finfo(torch.float32).eps
    rounding = 10 * eps * float(flat(gradient).norm() * flat(reference).norm())
    assert float(resolved @ flat(reference)) >= -rounding
    if float(flat(gradient) @ flat(reference)) >= 0:
        torch.testing.assert_close(resolved, flat(gradient), rtol=0, atol=0)
    else:  # the nearest that does not: on the border, moved along the reference only
        assert float(resolved @ flat(reference)) <= rounding
        moved = resolved - flat(gradient)
        along = (moved @ flat(reference)) / flat(reference).square().sum()
        torch.testing.assert_close(
            moved, along * flat(reference), rtol=0, atol=rounding
        )


def test_a_reference_of_zeros_changes_nothing() -> None:
    gradient = pieces(0)
    zeros = [torch.zeros_like(part) for part in gradient]
    for one, other in zip(without_conflict(gradient, zeros), gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_where_they_agree_nothing_changes_not_even_the_last_bit() -> None:
    gradient = pieces(0)
    for reference in (gradient, [3 * part for part in gradient]):
        resolved = without_conflict(gradient, reference)
        for one, other in zip(resolved, gradient, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_no_value_is_looked_at_so_that_no_device_is_waited_for() -> None:
    # Tensors without values raise where one is asked for.
    gradient, reference = ([part.to("meta") for part in pieces(s)] for s in (0, 1))
    shapes = [part.shape for part in without_conflict(gradient, reference)]
    assert shapes == [part.shape for part in gradient]


def test_both_cases_occur_among_the_seeds_above() -> None:
    signs = {bool(flat(pieces(s)) @ flat(pieces(1000 + s)) >= 0) for s in range(20)}
    assert signs == {True, False}


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_no_step_raises_the_replayed_loss_to_first_order(
    masks: tuple[Tensor | None, ...],
) -> None:
    setting = tiny_setting(masks)
    method = AGEM(setting, ReplayOptions(replay=3))
    learn(method, 0)
    x, y = begin(method, 1)
    conflicts = 0
    for first in range(0, 40, 5):
        network = copy.deepcopy(method.network)
        replay = copy.deepcopy(method.memory).draw(3)
        before = weights(method)
        method.step(x[first : first + 5], y[first : first + 5])
        parameters = dict(network.named_parameters())
        logits = network(replay.x)
        if masks[0] is not None:
            logits = logits.masked_fill(~masks[0], -torch.inf)
        reference = torch.autograd.grad(
            functional.cross_entropy(logits, replay.y), list(parameters.values())
        )
        after = weights(method)
        step = flat([(before[n] - after[n]) / setting.lr for n in parameters])
        product = float(step @ flat(list(reference)))
        scale = float(flat(list(reference)).norm())
        # The step is a difference of weights near one, rounded to float32.
        assert product >= -1e-5 * scale
        conflicts += product <= 1e-5 * scale
    assert conflicts


def test_without_conflict_a_step_is_sgd_bit_for_bit() -> None:
    method = AGEM(tiny_setting(), ReplayOptions())
    plain = beside_sgd(method)
    # What is replayed is what is trained on: the gradients agree.
    for each in (method, plain):
        each.begin_task(1)
    replay = copy.deepcopy(method.memory).draw(10)
    for each in (method, plain):
        each.step(replay.x, replay.y)
    assert_same(weights(method), weights(plain))


def test_a_resumed_run_ends_with_the_same_weights() -> None:
    setting, options = tiny_setting(), ReplayOptions(replay=3)
    assert_resumes(AGEM(setting, options), AGEM(setting, options))
