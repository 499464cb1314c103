"""A state is refused where its second moments belong to other features."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed import checkpoint
from torch_backend.nets import assert_same, batches, mlp, sgd

from rgo_core import Axes
from rgo_torch import RGO, FeatureEncoding, Place, flat_state, nested_state
from rgo_torch.layers.layer import Channels

ALONE = pytest.mark.filterwarnings("ignore:torch.distributed is .*:UserWarning")


class Marked(nn.Module):
    """Says itself where to encode."""

    def __init__(self, name: str | None, axis: int = -1) -> None:
        super().__init__()
        self.body = nn.Linear(12, 8)
        self.encoding = FeatureEncoding(8, axis, name=name)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoding(self.body(x).relu()))
        return logits


class Attentive(nn.Module):
    """Attends from a sequence of one to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(12, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)[:, None]
        logits: torch.Tensor = self.head(self.attention(h, h, h)[0][:, 0])
        return logits


def attached(model: nn.Module, **options: Any) -> RGO:
    return RGO(model, sgd(model), seed=0, damping=0.1, normalize="none", **options)


def learned(model: nn.Module, **options: Any) -> RGO:
    rgo = attached(model, **options)
    rgo.begin_task(0)
    rgo.end_task(batches())
    return rgo


LAST = Channels(8)
# By message: what it was saved of, and what is to take it.
OTHERS: dict[str, tuple[tuple[nn.Module, Any], tuple[nn.Module, Any]]] = {
    "expected {'at': {'2': 'output'}}, got {'at': {'2': 'input'}}": (
        (mlp(), [Place("2", "input", LAST)]),
        (mlp(), [Place("2", "output", LAST)]),
    ),
    "expected {'axes': {'2': 1}}, got {'axes': {'2': -1}}": (
        (mlp(), [Place("2", "input", LAST)]),
        (mlp(), [Place("2", "input", Channels(8, 1))]),
    ),
    "expected {'drawn_by': {'encoding': 'y'}}, got {'drawn_by': {'encoding': 'x'}}": (
        (Marked("x"), True),
        (Marked("y"), True),
    ),
    "expected {'drawn_by': {'encoding': 'encoding'}}, got": (
        (Marked("x"), True),
        (Marked(None), True),
    ),
    "expected {'at': {'attention': 'output'}}, got {'at': {'attention': 'both'}}": (
        (Attentive(), True),
        (Attentive(), [Place("body", "output"), Place("attention", "output")]),
    ),
}


@pytest.mark.parametrize("message", OTHERS)
def test_a_state_of_another_place_of_encoding_is_refused_and_nothing_changes(
    message: str,
) -> None:
    (model, encode), (other, there) = copy.deepcopy(OTHERS[message])
    state = learned(model, encode=encode).state_dict()
    rgo = attached(other, encode=there)
    before = copy.deepcopy(rgo.state_dict())
    for given in (state, nested_state(flat_state(state))):
        with pytest.raises(ValueError) as refused:
            rgo.load_state_dict(given)
        assert "the state's encoding is not this one's: " + message in str(
            refused.value
        )
    assert_same(rgo.state_dict(), before)


@ALONE
def test_a_checkpoint_of_another_place_is_refused_though_it_is_loaded_in_place(
    tmp_path: Path,
) -> None:
    rgo = learned(mlp(), encode=[Place("2", "input")])
    checkpoint.save({"rgo": rgo.state_dict()}, checkpoint_id=tmp_path)
    other = attached(mlp(), encode=[Place("2", "output")])
    states = {"rgo": other.state_dict()}
    checkpoint.load(states, checkpoint_id=tmp_path)
    with pytest.raises(ValueError, match="the state's encoding is not this one's"):
        other.load_state_dict(states["rgo"])


SIDEWAYS = {"2.weight": Axes(inputs=(0,), outputs=(1,))}


def test_a_square_weight_seen_along_other_axes_is_refused() -> None:
    state = learned(mlp(), encode=False).state_dict()
    other = attached(mlp(), encode=False, layout=SIDEWAYS)
    message = (
        r"2.weight: expected a second moment of Axes\(inputs=\(0,\), outputs=\(1,\)\), "
        r"got one of Axes\(inputs=\(1,\), outputs=\(0,\)\) in the state; make the RGO "
        "with that in layout="
    )
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(nested_state(flat_state(state)))
    assert other.finished == 0
    again = attached(mlp(), encode=False, layout=SIDEWAYS)
    again.load_state_dict(
        learned(mlp(), encode=False, layout=SIDEWAYS).state_dict(),
    )
    with pytest.raises(ValueError, match="expected axes by name, got a str"):
        other.load_state_dict(state | {"axes": "x"})


def without_places(state: dict[str, Any]) -> dict[str, Any]:
    told = {key: state["encoding"][key] for key in ("seed", "widths")}
    return {k: v for k, v in state.items() if k != "axes"} | {"encoding": told}


def test_a_state_that_does_not_tell_its_places_is_taken() -> None:
    rgo = learned(mlp())
    other = attached(mlp())
    other.load_state_dict(without_places(rgo.state_dict()))
    assert_same(other.state_dict(), rgo.state_dict())
    wrong = without_places(rgo.state_dict())
    del wrong["encoding"]["seed"]
    with pytest.raises(ValueError, match=r"expected {'seed': 0}, got {'seed': None}"):
        other.load_state_dict(wrong)


@ALONE
def test_a_checkpoint_that_does_not_tell_its_places_is_loaded_in_part(
    tmp_path: Path,
) -> None:
    rgo = learned(mlp())
    checkpoint.save({"rgo": without_places(rgo.state_dict())}, checkpoint_id=tmp_path)
    other = attached(mlp())
    states = {"rgo": other.state_dict()}
    planner = checkpoint.DefaultLoadPlanner(allow_partial_load=True)
    checkpoint.load(states, checkpoint_id=tmp_path, planner=planner)
    other.load_state_dict(states["rgo"])
    assert_same(other.state_dict(), rgo.state_dict())


def test_the_state_is_told_after_detach_too() -> None:
    rgo = learned(Attentive())
    before = copy.deepcopy(rgo.state_dict())
    rgo.detach()
    assert_same(rgo.state_dict(), before)
    attached(Attentive()).load_state_dict(rgo.state_dict())
