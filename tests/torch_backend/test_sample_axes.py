"""Samples that are not along the first axis, and what is said of it."""

import re
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch_backend.observed_kinds import B, normal, score
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments
from rgo_torch.layers.sample_axes import (
    OfAllSamplesError,
    over_outputs,
    product_along,
)


class TimeFirst(nn.Module):
    """Puts time first for a layer of its own, as recurrent networks take it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


FIRST_AXIS = "^layer: the samples are not along the first axis of the inputs, which has"


def test_rows_that_are_not_samples_have_a_vector_each_and_are_warned_of() -> None:
    torch.manual_seed(0)
    model, x = TimeFirst(nn.Linear(3, 2).double()), normal(B, 4, 3)
    options = {"score": score, "per": "position"}
    expected = second_moments(model, [x], **options)
    for data in ([x], list(x.split(1))):
        with pytest.warns(UserWarning, match=f"{FIRST_AXIS} 4 entries where the batch"):
            found = second_moments(model, data, score=score)
        for name, moment in found.items():
            assert_near(moment.matrix, expected[name].matrix)


def test_a_layer_whose_rows_are_not_samples_is_warned_of_once_a_pass() -> None:
    model = TimeFirst(nn.Linear(3, 2).double())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second_moments(model, [normal(B, n, 3) for n in (4, 5, 6)], score=score)
    assert len(caught) == 1


class Experts(nn.Module):
    """Sends each token to one of four experts, in order of their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        chosen = torch.arange(x.shape[:-1].numel()).reshape(x.shape[:-1]) % 7 // 2
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            out[chosen == number] = expert(x[chosen == number])
        return out


def test_all_layers_of_other_entries_are_warned_of_at_once_where_they_are_asked() -> (
    None
):
    data = [normal(B, 6, 3), normal(B, 5, 3)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second_moments(Experts().double(), data, score=score)
    (warning,) = caught
    assert warning.filename == __file__
    message = (
        r"^experts\.0, experts\.1, experts\.2 and 1 more: the samples are not along .* "
        rf"has 2 to 6 entries where the batch has {B} samples: .* routed, as to expe"
    )
    assert re.match(message, str(warning.message))


@pytest.mark.parametrize("per", ["sample", "position", "batch", None])
def test_time_first_is_warned_of_where_samples_are_asked_for(per: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = TimeFirst(nn.Linear(3, 3)).double()
        second_moments(model, [normal(B, 4, 3)], score=score, per=per, reduce="rms")
    assert bool(caught) == (per == "sample")
    assert all(re.match(FIRST_AXIS, str(warning.message)) for warning in caught)


@pytest.mark.parametrize("per", ["sample", "position", "batch", None])
@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_a_normalization_with_time_first_has_its_vectors_by_sample(
    kind: type, per: str | None
) -> None:
    x, options = normal(B, 4, 3), {"per": per}
    plain = nn.ModuleDict({"layer": kind(3).double()})
    expected = second_moments(plain, [x], score=of_layer, **options)
    found = second_moments(TimeFirst(kind(3)).double(), [x], score=score, **options)
    for name, moment in expected.items():
        assert_near(found[name].diagonal, moment.diagonal)
        assert int(found[name].count) == int(moment.count)


def of_layer(model: nn.Module, x: Tensor) -> Tensor:
    return score(model["layer"], x)


def test_two_axes_of_a_normalization_are_no_time_and_samples() -> None:
    model, images = nn.LayerNorm((B, 3)).double(), normal(7, B, 3)
    with pytest.warns(UserWarning, match="which has 7 entries where the batch has"):
        found = second_moments(
            model, [normal(B)], score=lambda model, _: score(model, images)[:B]
        )
    assert {int(moment.count) for moment in found.values()} == {7}


class OwnAttention(nn.Module):
    """Lets positions look at each other; takes a batch, or time first."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.query, self.key = (nn.Parameter(normal(3, 3)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, self.axis)
        mixed = (x @ self.query @ (x @ self.key).mT).softmax(-1) @ x
        return mixed.transpose(0, self.axis)


def test_an_unknown_layer_with_time_first_has_its_vectors_by_sample() -> None:
    x = normal(B, 4, 3)
    torch.manual_seed(0)
    plain = nn.ModuleDict({"layer": OwnAttention(0)})
    torch.manual_seed(0)
    model = TimeFirst(OwnAttention(1))
    expected = second_moments(plain, [x], score=lambda m, x: score(m["layer"], x))
    found = second_moments(model, [x], score=score)
    for name, moment in expected.items():
        assert moment.matrix.any()
        assert_near(found[name].matrix, moment.matrix)


def test_an_embedding_with_time_first_is_warned_of_and_has_a_vector_a_position() -> (
    None
):
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.first = nn.Embedding(5, 3).double(), True

        def forward(self, ids: Tensor) -> Tensor:
            if self.first:
                return self.layer(ids.T).transpose(0, 1)
            return self.layer(ids.reshape(-1)).reshape(*ids.shape, -1)

    model, ids = Tokens(), torch.arange(B * 4).reshape(B, 4) % 5
    with pytest.warns(UserWarning, match=f"{FIRST_AXIS} 4 entries"):
        found = second_moments(model, [ids], score=score)
    model.first = False
    joined = second_moments(model, [ids], score=score)
    assert_near(found["layer.weight"].diagonal, joined["layer.weight"].diagonal)


class Distances(nn.Module):
    """Adds what a table has for each pair of positions, the same for all samples."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(9, 3), nn.Linear(3, 3)
        places = torch.arange(positions)
        self.register_buffer("apart", places[:, None] - places + 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.table(self.apart).sum(0)


@pytest.mark.filterwarnings("error")
def test_a_table_of_pairs_that_all_samples_share_is_not_taken_for_time_first() -> None:
    model = Distances(4).double()
    found = second_moments(model, [normal(5, 4, 3)], score=score)
    assert found["table.weight"].diagonal.any()


@pytest.mark.parametrize(("size", "calls"), [(1, 6), (12, 3), (100, 1)])
def test_as_many_samples_are_held_where_each_goes_through_all(
    size: int, calls: int
) -> None:
    called = []

    def function(towards: list[Tensor]) -> dict[str, Tensor]:
        called.append(None)
        return {"found": towards[0].sum(0)}

    given = normal(6, 3)
    found = over_outputs(function, [given], [0], size)["found"]
    assert torch.equal(found, given)
    assert len(called) == calls


def test_an_output_of_another_shape_than_what_reaches_it_is_told() -> None:
    message = r"gives an output of shape \(2,\), where what reaches it is \(3,\)"
    with pytest.raises(OfAllSamplesError, match=message):
        product_along(torch.ones(2), torch.ones(3))
