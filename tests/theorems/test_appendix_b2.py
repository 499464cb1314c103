"""Appendix B.2: what RGO costs in multiplications and in numbers kept.

Counted by PyTorch's flop counter while the implementation runs: two flops are one
multiplication and one addition. What is not a matrix product it does not count.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import rgo_core
import rgo_torch
from rgo_bench.measure.operations import step_operations
from rgo_bench.networks import NETWORKS
from rgo_torch.fast import packed, product

N, M, R = 12, 7, 5  # features, outputs, rows


def of_a_vector(matrix: torch.Size, vector: torch.Size, **_: Any) -> int:
    """Return the flops of a matrix times a vector, which the counter leaves out."""
    return 2 * math.prod(matrix)


def multiplications(function: Callable[..., Any], *arguments: Any) -> int:
    own = {torch.ops.aten.mv: of_a_vector}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        function(*arguments)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def identity(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def test_projecting_a_gradient_takes_n_squared_m() -> None:
    assert multiplications(rgo_core.project, identity(N), zeros(N, M)) == N * N * M


@pytest.mark.parametrize("rows", [R, M, 20])
def test_projecting_factors_takes_n_squared_times_the_smaller_of_rows_and_outputs(
    rows: int,
) -> None:
    arguments = identity(N), zeros(rows, N), zeros(rows, M)
    taken = multiplications(rgo_core.project_factors, *arguments)
    assert taken == N * N * min(rows, M) + N * rows * M


def test_one_update_of_the_recursion_takes_n_squared_for_its_gain() -> None:
    # The outer product k k^T takes as many again, entry by entry and not counted.
    assert multiplications(rgo_core.gain, identity(N), zeros(N)) == N * N
    assert (
        multiplications(rgo_core.update_projection, identity(N), zeros(N), 1.0) == N * N
    )


def test_observing_r_vectors_takes_r_n_squared() -> None:
    moment = rgo_core.empty_moment(N, xp=torch)
    assert multiplications(rgo_core.observe, moment, zeros(R, N)) == R * N * N


def mlp() -> nn.Module:
    return NETWORKS["mlp"]((1, 28, 28), 10, 0)


def begin_second_task(model: nn.Module, shape: tuple[int, ...]) -> torch.optim.SGD:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rgo = rgo_torch.RGO(model, optimizer)
    rgo.begin_task()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, *shape, generator=generator)
    rgo.end_task([(x, torch.arange(20) % 10)])
    rgo.begin_task()
    return optimizer


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> None:
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize("batch", [10, 300])
def test_a_training_step_takes_what_the_count_by_shapes_says(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PyTorch does not count the products that it asks oneDNN for.
    for module in (packed, product):
        monkeypatch.setattr(module, "LARGE", math.inf)
    model, shape = mlp(), (1, 28, 28)
    optimizer = begin_second_task(model, shape)
    expected = step_operations(model, torch.zeros(batch, *shape))
    inputs = torch.zeros(batch, *shape), torch.zeros(batch, dtype=torch.int64)
    plain = mlp()
    descent = torch.optim.SGD(plain.parameters(), lr=0.1)
    assert multiplications(step, plain, descent, *inputs) == expected.training
    taken = multiplications(step, model, optimizer, *inputs)
    assert taken == expected.training + expected.projection


def test_the_projections_of_the_mlp_hold_n_squared_numbers_for_weights_and_biases() -> (
    None
):
    model = mlp()
    batches = [(torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64))]
    moments = rgo_torch.second_moments(model, batches)
    held = sum(moment.matrix.numel() for moment in moments.values())
    weights, biases = (784, 256, 256), (256, 256, 10)
    assert held == sum(n * n for n in weights + biases) == 876_900
    assert sum(p.numel() for p in model.parameters()) == 269_322
