"""Where the microseconds of a training step go: products, encoding, and the rest."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from statistics import median
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

import rgo_torch
from rgo_bench.measure.operations import row_counts
from rgo_bench.measure.steps import prepare, protect
from rgo_bench.measure.subjects import Subject
from rgo_torch.fast.packed import PackedProduct
from rgo_torch.fast.product import projected_rows
from rgo_torch.layers.rows import RowLayer
from rgo_torch.projecting.projector import GradientProjector

Measured = TypeVar("Measured")

PHASES = ("forward", "backward", "update")
# Steps of one kind in a row, as in training: another's leave its caches cold. The first
# of them are not timed.
BLOCK, WARM = 20, 3


class StepProfile(NamedTuple):
    """Microseconds of a step on one thread, medians; and where RGO's own go."""

    network: str
    batch: int
    optimizer: str
    plain: dict[str, float]  # by phase, of the optimizer alone
    rgo: dict[str, float]
    products: float  # of gradients or inputs with P, as many as in a step
    encoding: float  # what permuting adds to a plain step
    rest: float  # autograd functions, hooks, and Python between the products

    @property
    def ratio(self) -> float:
        """A step of RGO over a plain one."""
        return sum(self.rgo.values()) / sum(self.plain.values())

    @property
    def floor(self) -> float:
        """The ratio if there were nothing but products."""
        return 1 + self.products / sum(self.plain.values())


def profile_step(
    network: str,
    input_shape: tuple[int, ...],
    *,
    batch: int = 10,
    optimizer: str = "sgd",
    rounds: int = 200,
) -> StepProfile:
    """Time the parts of a step on the CPU, in turn, by the time of this thread alone.

    At least `rounds` steps of each kind. What RGO adds is split by timing its parts
    alone: the products on random tensors of the step's shapes, each time after a plain
    step, which leaves the caches as it does; the encoding in a network without
    projections. With AdamW updates are projected.
    """
    subject = Subject(network, input_shape, batch)
    kinds = {
        kind: _Stepper(subject, optimizer, kind) for kind in ("plain", "encoded", "rgo")
    }
    products = kinds["rgo"].products()
    taken: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    alone: list[float] = []
    for _ in range(math.ceil(rounds / BLOCK)):
        for kind, stepper in kinds.items():
            taken[kind] += _timed_block(stepper.step)
        alone += _timed_block(lambda: (kinds["plain"].step(), products())[1])
    plain, encoded, rgo = (_by_phase(taken[kind]) for kind in kinds)
    product = 1e6 * median(alone)
    encoding = max(0.0, sum(encoded.values()) - sum(plain.values()))
    rest = sum(rgo.values()) - sum(plain.values()) - product - encoding
    return StepProfile(
        network, batch, optimizer, plain, rgo, product, encoding, max(0.0, rest)
    )


class _Stepper:
    def __init__(self, subject: Subject, optimizer: str, kind: str) -> None:
        made = prepare(subject, optimizer)
        _, self.model, self.optimizer, self.x, self.y = made
        self.rgo: rgo_torch.RGO | None = None
        if kind == "encoded":
            rgo_torch.FeatureEncoder(self.model, seed=0).set_task(1)
        elif kind == "rgo":
            self.rgo = protect(made)

    def step(self) -> list[float]:
        """Take a step and return the seconds of its phases."""
        times = [time.thread_time()]
        loss = functional.cross_entropy(self.model(self.x), self.y)
        times.append(time.thread_time())
        loss.backward()
        times.append(time.thread_time())
        self.optimizer.step()
        self.optimizer.zero_grad()
        times.append(time.thread_time())
        return [end - start for start, end in pairwise(times)]

    def products(self) -> Callable[[], float]:
        """Return what multiplies by every projection as a step does, and times that."""
        assert self.rgo is not None
        projector = self.rgo.projector
        layers = [each for each in projector.layers if isinstance(each, RowLayer)]
        counts = row_counts(self.model, layers, self.x)
        rows = {layer.module: count for layer, count in counts.items()}
        each = [_product(projector, name, rows) for name in projector.projections]

        @torch.no_grad()
        def multiply() -> float:
            start = time.thread_time()
            for product in each:
                product()
            return time.thread_time() - start

        return multiply


def _product(
    projector: GradientProjector, name: str, rows: dict[nn.Module, int]
) -> Callable[[], Tensor]:
    """Return what a step does with a projection, from the side of fewer rows."""
    parameter, projection = projector.parameters[name], projector.projections[name]
    gradient = parameter.rows(parameter.tensor.detach())
    few = rows.get(parameter.uses[0][0].module, 0)
    factors = projector.project == "gradient" and not parameter.is_vector
    if factors and 0 < few < gradient.shape[-2]:
        shape = (*gradient.shape[:-2], few, gradient.shape[-1])
        # As `ProjectedForward` multiplies what a layer takes in.
        return partial(PackedProduct(), projection, torch.randn(shape))
    return partial(projected_rows, projection, torch.randn_like(gradient))


def _timed_block(step: Callable[[], Measured]) -> list[Measured]:
    return [step() for _ in range(-WARM, BLOCK)][WARM:]


def _by_phase(steps: Sequence[Sequence[float]]) -> dict[str, float]:
    columns = zip(*steps, strict=True)
    return {p: 1e6 * median(c) for p, c in zip(PHASES, columns, strict=True)}
