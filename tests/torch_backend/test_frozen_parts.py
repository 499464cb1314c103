"""A frozen part whose features are permuted before another frozen part is told of."""

import re

import pytest
from torch import nn
from torch_backend.nets import batches, mlp, sgd

from rgo_torch import RGO
from rgo_torch.projecting.optimizers import Project

# mlp(): 0 Linear, 2 Linear, 4 Linear, with ReLUs between.
FROZEN = "0: frozen, or held by no optimizer, and from the second"


def frozen(*layers: int) -> nn.Sequential:
    model = mlp()
    for layer in layers:
        model[layer].requires_grad_(False)
    return model


@pytest.mark.filterwarnings("ignore:.*held by no optimizer given")
def test_a_frozen_body_is_warned_of_with_what_to_encode() -> None:
    model = frozen(0, 2)
    remedy = re.escape("Encode what is trained takes in, encode=['4']; or leave")
    with pytest.warns(UserWarning, match=f"{FROZEN}.*{remedy}"):
        RGO(model, sgd(model[4])).detach()
    # And that is not warned of.
    RGO(model, sgd(model[4]), encode=["4"]).detach()
    RGO(model, sgd(model[4]), encode=False).detach()


@pytest.mark.parametrize("project", ["gradient", "update"])
@pytest.mark.filterwarnings("ignore:.*held by no optimizer given")
def test_a_body_that_no_optimizer_holds_is_as_good_as_frozen(project: Project) -> None:
    model = mlp()
    with pytest.warns(UserWarning, match=FROZEN):
        RGO(model, sgd(model[4]), project=project).detach()
    RGO(model, [sgd(part) for part in model if len(list(part.parameters()))])


def test_a_body_that_is_frozen_between_tasks_is_warned_of_once() -> None:
    model = mlp()
    rgo = RGO(model, sgd(model), seed=0)
    rgo.begin_task(0)
    rgo.end_task(batches())
    model[:4].requires_grad_(False)
    with pytest.warns(UserWarning, match=FROZEN):
        rgo.begin_task(1)
    rgo.end_task(batches())
    rgo.begin_task(2)
    assert FROZEN in rgo.summary()


@pytest.mark.parametrize("layers", [(0,), (4,), (0, 4), (2,), (2, 4)])
def test_one_frozen_layer_that_trained_ones_follow_is_not(layers: tuple[int]) -> None:
    model = frozen(*layers)
    if layers == (2, 4):  # what it gives out is permuted, and the head is frozen too
        with pytest.warns(UserWarning, match="2: frozen.*Encode elsewhere, or leave"):
            RGO(model, sgd(model))
    else:
        RGO(model, sgd(model))


def test_what_is_named_to_be_encoded_can_be() -> None:
    model = nn.Sequential(*mlp()[:4], nn.LayerNorm(8), nn.Linear(8, 4))
    model[:4].requires_grad_(False)
    with pytest.warns(UserWarning, match=r"encode=\['5'\]; or leave"):
        RGO(model, sgd(model)).detach()
    assert RGO(model, sgd(model), encode=["5"]).encoder
