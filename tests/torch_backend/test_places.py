"""Users say where features are encoded: at what a module takes in, or gives out."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import FEATURES, batch, batches, conv_net, mlp, train

import rgo_core
from rgo_torch import RGO, Channels, FeatureEncoder, FeatureEncoding, Place


def order(width: int, name: str, task: int) -> Tensor:
    return torch.from_numpy(
        np.asarray(rgo_core.task_permutation(width, task=task, name=name, seed=7))
    )


class Branch(nn.Module):
    """An adapter after Houlsby: a residual branch that starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 3), nn.Linear(3, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(input=x)))


def branched() -> nn.Sequential:
    """A frozen layer, a branch after it, and a head."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), Branch(8), nn.Linear(8, 4))
    model[0].requires_grad_(False)
    return model


PLACES = ["2.down", "2.up", "3"]


def test_the_input_of_a_named_module_is_permuted() -> None:
    model, plain, (x, _) = mlp(), mlp(), batch()
    encoder = FeatureEncoder(model, seed=7, places=["2", Place("4", "output")])
    encoder.set_task(2)
    hidden = torch.relu(plain[0](x))[:, order(8, "2", 2)]
    expected = plain[4](torch.relu(plain[2](hidden)))[:, order(4, "4", 2)]
    assert torch.equal(model(x), expected)
    assert encoder.widths == {"2": 8, "4": 4}
    assert encoder.places == {"2": "input", "4": "output"}
    encoder.detach()
    assert torch.equal(model(x), plain(x))


def test_an_input_that_comes_by_keyword_is_permuted_too() -> None:
    model, (x, _) = branched(), batch()
    nn.init.normal_(model[2].up.weight)
    encoder = FeatureEncoder(model, seed=7, places=["2.down"])
    encoder.set_task(1)
    seen = []
    model[2].down.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(kwargs["input"]),
        with_kwargs=True,
    )
    model(x)
    expected = torch.relu(model[0](x))[:, order(8, "2.down", 1)]
    assert torch.equal(seen[0], expected)


def test_channels_of_any_module_may_be_given() -> None:
    model, (x, _) = nn.Sequential(nn.Identity(), nn.Linear(FEATURES, 4)), batch()
    channels = Channels(FEATURES)
    encoder = FeatureEncoder(model, seed=7, places=[Place("0", channels=channels)])
    encoder.set_task(1)
    assert torch.equal(model[0](x), x[:, order(FEATURES, "0", 1)])


def test_the_channels_that_a_convolution_takes_are_permuted() -> None:
    model, plain = conv_net(), conv_net()
    FeatureEncoder(model, seed=7, places=["2"]).set_task(3)
    x = torch.randn(2, 3, 4, 4)
    expected = torch.relu(plain[0](x))[:, order(6, "2", 3)]
    assert torch.equal(model[:3](x), plain[2](expected))


def test_a_branch_that_starts_at_zero_is_learned_beside_what_is_frozen() -> None:
    model, (x, _) = branched(), batch()
    before = model[:3](x)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rgo = RGO(model, optimizer, seed=7, encode=PLACES)
    assert rgo.projector.project == "update"
    assert set(rgo.projector.parameters) == {
        f"{name}.{own}" for name in PLACES for own in ("weight", "bias")
    }
    for task in range(2):
        rgo.begin_task(task)
        if task == 0:
            assert torch.equal(model[:3](x), before)
        train(model, optimizer, batches(seed=task))
        rgo.end_task(batches(seed=task))
    assert model[0].weight.grad is None
    with rgo.task(1):
        torch.testing.assert_close(rgo.merge_for(1)(x), model(x))


def test_a_layer_that_thaws_beside_places_is_named() -> None:
    model = branched()
    rgo = RGO(model, torch.optim.AdamW(model.parameters()), encode=PLACES)
    model[0].requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"0\.bias, 0\.weight: frozen when"):
        rgo.begin_task(0)


def test_encodings_beside_places_are_drawn_as_everywhere() -> None:
    model, (x, _) = branched(), batch()
    nn.init.normal_(model[2].up.weight)
    FeatureEncoder(model, seed=7, places=PLACES).set_task(1)
    branch, hidden = model[2], torch.relu(model[0](x))
    down = hidden[:, order(8, "2.down", 1)] @ branch.down.weight.T + branch.down.bias
    rank = torch.relu(down)[:, order(3, "2.up", 1)]
    after = hidden + rank @ branch.up.weight.T + branch.up.bias
    expected = after[:, order(8, "3", 1)] @ model[3].weight.T + model[3].bias
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize(
    ("places", "kind", "message"),
    [
        (["9"], ValueError, "must name modules of the model, got '9'"),
        (["2", Place("2", "output")], ValueError, "a module once, got '2' twice"),
        ([Place("2", "middle")], ValueError, "'input' or 'output', got 'middle'"),  # type: ignore
        (["1"], ValueError, r"channels at the input of '1' \(ReLU\) are not known"),
        ("2", TypeError, "must be a list of names or Place, got '2'"),
        ([2], TypeError, "must be names or Place, got 2"),
    ],
)
def test_what_is_no_place_is_refused(
    places: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        FeatureEncoder(mlp(), places=places)


def test_places_of_a_model_that_says_itself_where_to_encode_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), FeatureEncoding(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="places must be None for a model that says"):
        FeatureEncoder(model, places=["0"])
