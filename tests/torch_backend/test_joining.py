"""Small batches are joined in the pass, where nothing changes by it but rounding."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.nets import batch, batches, mlp
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments
from rgo_torch.observation.chunks import SampleScore
from rgo_torch.observation.joining import MOST_SAMPLES, are_alike, joined
from rgo_torch.observation.labels import label_score


def sizes_of(model: nn.Module, given: Any, **options: Any) -> tuple[list[int], Any]:
    """Return how many samples the model saw at a time, and their moments."""
    seen: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    moments = second_moments(model, given, **options)
    hook.remove()
    return seen, moments


def one_by_one(model: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    return label_score(model(x), y)


@pytest.mark.parametrize("per", ["sample", "position", None])
@pytest.mark.parametrize("score", [None, SampleScore(one_by_one)])
def test_joined_batches_give_what_they_give_apart(per: Any, score: Any) -> None:
    model, given = mlp().double(), [(x.double(), y) for x, y in batches(240, 10)]
    seen, found = sizes_of(model, given, per=per, score=score)
    assert seen == [10, 1020, 1020, 350]
    apart, expected = sizes_of(model, given, per=per, score=one_by_one)
    assert apart == [10] * 240
    for name, moment in expected.items():
        assert_near(found[name].matrix, moment.matrix, amplification=1e3)
        assert int(found[name].count) == int(moment.count)


def test_a_part_of_the_samples_ends_where_it_did() -> None:
    given = batches(60, 10)
    seen, found = sizes_of(mlp(), given, samples=95)
    assert seen == [10, 90]
    apart, expected = sizes_of(mlp(), given, samples=95, score=one_by_one)
    assert sum(apart) == 100
    for name, moment in expected.items():
        torch.testing.assert_close(found[name].matrix, moment.matrix)


class Sequences(nn.Module):
    """Takes sequences, time first or samples first."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.cell = nn.GRU(3, 4, batch_first=batch_first)
        self.head = nn.Linear(4, 4)
        self.time = 1 if batch_first else 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cell(x)[0].mean(self.time))
        return logits


@pytest.mark.parametrize("batch_first", [False, True])
def test_batches_with_time_first_stay_as_they_are(batch_first: bool) -> None:
    torch.manual_seed(0)
    given = [(torch.randn(5, 5, 3), torch.randint(4, (5,))) for _ in range(6)]
    seen, _ = sizes_of(Sequences(batch_first=batch_first), given)
    assert seen == ([5, 25] if batch_first else [5] * 6)


class Looking(nn.Module):
    """Looks at values, so that its samples cannot be told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(12))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale if float(x.sum()) < 1e9 else x


def test_where_a_batch_has_one_vector_it_stays_as_it_is() -> None:
    model = nn.Sequential(Looking(), nn.Linear(12, 4))
    with pytest.warns(UserWarning, match="^0: one curvature vector for each batch, "):
        seen, moments = sizes_of(model, batches(6, 5))
    assert set(seen) == {5}
    assert int(moments["0.scale"].count) == 6


class Stateful(nn.Module):
    """Takes batches of five alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x) + torch.zeros(5, 4)
        return logits


def test_a_model_that_takes_one_size_alone_gets_it() -> None:
    model, given = Stateful(), batches(6, 5)
    _, found = sizes_of(model, given)
    _, expected = sizes_of(model, given, score=one_by_one)
    for name, moment in expected.items():
        assert torch.equal(found[name].matrix, moment.matrix)
        assert int(found[name].count) == 30
    broken = [*given, (batch(5)[0], torch.full((5,), 9))]
    with pytest.raises(ValueError, match="label"):
        second_moments(model, broken)


@pytest.mark.parametrize(
    ("per", "score"), [("batch", None), ("sample", one_by_one), (None, one_by_one)]
)
def test_vectors_of_batches_and_scores_of_ones_own_get_their_batches(
    per: Any, score: Any
) -> None:
    seen, _ = sizes_of(mlp(), batches(6, 5), per=per, score=score)
    assert seen == [5] * 6


def test_batches_of_other_shapes_are_joined_among_themselves() -> None:
    torch.manual_seed(0)
    lengths = [3, 3, 3, 7, 7, 3]
    given = [(torch.randn(5, n, 3), torch.randint(4, (5,))) for n in lengths]
    seen, _ = sizes_of(Sequences(batch_first=True), given)
    assert seen == [5, 10, 10, 5]


def test_what_is_large_stays_apart() -> None:
    first, last = nn.Linear(12, 2**16, bias=False), nn.Linear(2**16, 4, bias=False)
    model = nn.Sequential(first, nn.ReLU(), last)
    wide, _ = sizes_of(model, batches(30, 5), layout={"2.weight": None})
    assert wide == [5, 30, 30, 30, 30, 25]  # some 2^16 entries a sample, of 2^21
    few, _ = sizes_of(mlp(), batches(2, MOST_SAMPLES))
    assert few == [MOST_SAMPLES] * 2


def test_batches_are_alike_that_differ_in_their_samples_alone() -> None:
    x, y = batch(4)
    assert are_alike([x, y], [x[:2], y[:2]])
    assert are_alike({"x": x, "y": y, "n": 1}, {"x": x, "y": y, "n": 1})
    for one, other in (
        ([x, y], (x, y)),
        ([x, y], [x]),
        ([x, y], [x[:, :3], y]),
        ([x, y], [x.double(), y]),
        ([x, None], [x, y]),
        ({"x": x, "n": 1}, {"x": x, "n": 2}),
        ({"x": x}, {"y": x}),
        (x, x),
        ([functional.relu], [functional.gelu]),
    ):
        assert not are_alike(one, other)
    found = joined([{"x": x, "n": 1}, {"x": 2 * x, "n": 1}])
    assert torch.equal(found["x"], torch.cat([x, 2 * x]))
    assert found["n"] == 1
