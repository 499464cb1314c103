from typing import Any

import numpy as np
import pytest
import torch
from bench.small_settings import (
    SPLIT,
    assert_resumes,
    assert_same,
    begin,
    beside_sgd,
    learn,
    samples,
    tiny_network,
    tiny_setting,
    weights,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from rgo_bench.methods.gpm import GPM, GPMOptions, extended, leading_directions

SETTING = tiny_setting()
# Loose thresholds: the tiny layers have only 6 and 8 directions.
OPTIONS = GPMOptions(
    representations=30, threshold_first=0.5, threshold=0.6, biases="free"
)


def normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def dumb_basis(
    basis: NDArray[np.float64], columns: NDArray[np.float64], threshold: float
) -> NDArray[np.float64]:
    """Add directions of the residual one by one until enough is held."""
    residual = columns - basis @ basis.T @ columns
    directions = np.linalg.svd(residual)[0]
    count = 0
    while True:
        joined = np.concatenate([basis, directions[:, :count]], axis=1)
        held = np.sum((joined @ joined.T @ columns) ** 2)
        if held >= threshold * np.sum(columns**2):
            return joined
        count += 1


@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize("held", [0, 2, 5])
def test_the_threshold_rule_is_that_of_a_dumb_loop(threshold: float, held: int) -> None:
    decay = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.3, 0.2, 0.1]).double()
    basis = torch.linalg.qr(normal(0, 7, held)).Q
    columns = decay[:, None] * normal(1, 7, 20)
    actual = extended(basis, columns, threshold)
    expected = dumb_basis(basis.numpy(), columns.numpy(), threshold)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual @ actual.T, expected @ expected.T, atol=1e-12)


@pytest.mark.parametrize("threshold", [0.5, 0.99, 1.0])
def test_bases_stay_orthonormal_and_grow_at_most_to_the_whole_space(
    threshold: float,
) -> None:
    basis = torch.zeros(7, 0).double()
    for task in range(6):
        wider = extended(basis, normal(task, 7, 3), threshold)
        identity = torch.eye(wider.shape[1]).double()
        torch.testing.assert_close(wider.T @ wider, identity, rtol=0, atol=1e-14)
        inside = wider @ wider.T @ basis
        torch.testing.assert_close(inside, basis, rtol=0, atol=1e-14)
        basis = wider
    assert basis.shape[1] <= 7
    if threshold == 1.0:
        assert basis.shape[1] == 7


@pytest.mark.parametrize("threshold", [0.99, 1.0, 1.1])
def test_what_the_basis_holds_already_adds_nothing(threshold: float) -> None:
    basis = torch.linalg.qr(normal(0, 7, 3)).Q
    columns = basis @ normal(1, 3, 10)
    assert extended(basis, columns, threshold).shape[1] == 3


@pytest.mark.parametrize(("n", "r"), [(12, 40), (40, 12), (20, 20)])
def test_the_directions_and_energies_are_those_of_an_svd(n: int, r: int) -> None:
    rank = min(n, r)
    left, right = (torch.linalg.qr(normal(i, k, rank)).Q for i, k in enumerate((n, r)))
    singular = torch.logspace(2, -3, rank, dtype=torch.float64)
    columns = left * singular @ right.T
    directions, energies = leading_directions(columns)
    expected = torch.linalg.svd(columns, full_matrices=False)
    # Of a Gram matrix the largest decides how exact all are: eps 1e4, squared.
    rounding = 10 * torch.finfo(torch.float64).eps * float(singular[0] ** 2)
    torch.testing.assert_close(energies, expected.S**2, rtol=0, atol=rounding)
    for count in (1, rank // 2, rank):
        held, wanted = directions[:, :count], expected.U[:, :count]
        gap = float(singular[count - 1] ** 2)
        distance = float((held @ held.T - wanted @ wanted.T).norm())
        assert distance < 10 * rounding / gap


@pytest.mark.parametrize("r", [3, 30])
def test_there_are_no_more_directions_than_the_rank(r: int) -> None:
    columns = normal(0, 10, 2) @ normal(1, 2, r)
    directions, energies = leading_directions(columns)
    assert directions.shape == (10, 2)
    assert energies.shape == (2,)
    assert leading_directions(torch.zeros(10, r).double())[0].shape == (10, 0)


def test_a_direction_that_is_hardly_new_joins_at_right_angles() -> None:
    basis = torch.linalg.qr(normal(0, 7, 3)).Q
    columns = basis @ normal(1, 3, 10) + 1e-12 * normal(2, 7, 10)
    wider = extended(basis, columns, 1.1)
    assert wider.shape[1] == 7
    identity = torch.eye(7).double()
    torch.testing.assert_close(wider.T @ wider, identity, rtol=0, atol=1e-14)


def test_an_update_is_orthogonal_to_the_stored_bases() -> None:
    method = GPM(SETTING, OPTIONS)
    learn(method, 0, 1)
    x, y = begin(method, 2)
    before = weights(method)
    for first in range(0, 40, 5):
        method.step(x[first : first + 5], y[first : first + 5])
    after = weights(method)
    for layer, basis in method.bases.items():
        update = (after[f"{layer}.weight"] - before[f"{layer}.weight"]).double()
        assert 0 < basis.shape[1] < basis.shape[0]
        # Eight steps, each rounded where the weights are at most 2.
        assert float((update @ basis).norm()) < 1e-5
        assert float(update.norm()) > 1e-2


def test_the_bases_hold_what_the_layers_took_in() -> None:
    method = GPM(
        SETTING, GPMOptions(threshold_first=0.6, threshold=0.9, representations=10)
    )
    learn(method, 0)
    x, _ = samples(0, SETTING)
    first = method.network[0]
    chosen = x[::4]  # 10 of 40
    hidden = first(chosen).clamp(min=0).detach()
    for name, rows, threshold in (("0", chosen, 0.6), ("2", hidden, 0.9)):
        columns = rows.double().T.numpy()
        expected = dumb_basis(np.zeros((len(columns), 0)), columns, threshold)
        actual = method.bases[name]
        np.testing.assert_allclose(actual @ actual.T, expected @ expected.T, atol=1e-12)


def test_thresholds_rise_with_the_tasks_up_to_one() -> None:
    method = GPM(
        SETTING,
        GPMOptions(threshold_first=0.5, threshold=0.7, rise=0.25, representations=40),
    )
    learn(method, 0)
    assert method.bases["0"].shape[1] < 6
    learn(method, 1, 2)  # 0.5 + 2 * 0.25 = 1: everything is held
    assert method.bases["0"].shape[1] == 6


def test_the_first_task_is_learned_by_sgd_bit_for_bit() -> None:
    method = GPM(SETTING, OPTIONS)
    plain = beside_sgd(method)
    assert_same(weights(method), weights(plain))


def test_biases_are_trained_unless_frozen() -> None:
    fresh = dict(tiny_network(0).named_parameters())
    for biases in ("free", "frozen"):
        method = GPM(SETTING, GPMOptions(biases=biases))
        learn(method, 0)
        same = torch.equal(weights(method)["0.bias"], fresh["0.bias"])
        assert same == (biases == "frozen")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("representations", 0, "a positive integer"),
        ("threshold_first", 0.0, "a number above 0 and at most 1"),
        ("threshold", -1.0, "a number above 0 and at most 1"),
        ("threshold", 5.0, "a number above 0 and at most 1"),
        ("biases", "none", "one of free, frozen"),
    ],
)
def test_options_without_meaning_are_refused(
    option: str, value: object, expected: str
) -> None:
    changes: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=f"option '{option}': expected {expected}"):
        GPMOptions(**changes)


def test_outputs_that_belong_to_one_task_alone_are_not_projected() -> None:
    split = tiny_setting(SPLIT)
    apart, shared = GPM(split._replace(own_outputs=True), OPTIONS), GPM(split, OPTIONS)
    for method in (apart, shared):
        learn(method, 0)
    assert set(apart.bases) == {"0"}
    assert set(shared.bases) == {"0", "2"}


def test_grouped_convolutions_are_refused() -> None:
    network = nn.Conv2d(4, 6, 2, groups=2)
    setting = SETTING._replace(make_network=lambda seed: network)
    with pytest.raises(ValueError, match="gpm: expected no grouped convolutions"):
        GPM(setting, OPTIONS)


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_a_resumed_run_ends_with_the_same_weights(
    masks: tuple[Tensor | None, ...],
) -> None:
    setting = tiny_setting(masks)
    assert_resumes(GPM(setting, OPTIONS), GPM(setting, OPTIONS))
