"""The dampings that pages tell are those that are chosen where none is given."""

import re

import pytest
import torch
from recorded_figures import ROOT
from torch import nn

from rgo_core import Relative
from rgo_core.damping import Damping
from rgo_jax.projection import DeepDamping, PerceptronDamping
from rgo_torch import RGO


def chosen(*layers: nn.Module, adaptive: bool = False, encode: bool = True) -> Damping:
    """Return what RGO chooses for a network of such layers and a head."""
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.ones(1, 2, 5, 5))
    kind = torch.optim.AdamW if adaptive else torch.optim.SGD
    rgo = RGO(model, kind(model.parameters(), lr=0.01), encode=encode)
    rgo.detach()
    return rgo.damping


def perceptron(**options: bool) -> Damping:
    """Return the damping of a multilayer perceptron."""
    return chosen(nn.Flatten(), nn.Linear(50, 4), **options)


def convolution(*more: nn.Module, **options: bool) -> Damping:
    """Return the damping of a convolutional network with a head."""
    return chosen(nn.Conv2d(2, 3, 3), *more, **options)


def read(told: str) -> Damping:
    """Return the damping that a page writes so."""
    within = re.fullmatch(r"`Relative\(([\d.]+)(?:, most=([\d.]+))?\)`", told)
    if within is None:
        return float(told)
    share, most = within.groups()
    return Relative(float(share), most=None if most is None else float(most))


DAMPING = r"(`Relative\([^`]*\)`|[\d.]*\d)"
NORMALISED = convolution(nn.BatchNorm2d(3))
UPDATES = perceptron(adaptive=True)


@pytest.mark.parametrize(
    ("page", "words", "damping"),
    [
        ("options", "With SGD it is {} for a multilayer perceptron", perceptron()),
        ("options", "{} for a plain convolutional network", convolution()),
        ("options", "{} for both without encoding", perceptron(encode=False)),
        ("options", "{} for both without encoding", convolution(encode=False)),
        ("options", "{} where there are normalisations", NORMALISED),
        ("options", "with updates projected {}", UPDATES),
        ("options", "layers alone its damping is {} with encoding", convolution()),
        ("options", r"and {} \[without\]", convolution(encode=False)),
        ("options", r"\[without\]\(#what-is-fitted\), else {}", NORMALISED),
        ("options", "So the default is {}, of all samples", convolution()),
        ("jax", "tells: {} of multilayer perceptrons", PerceptronDamping().damping),
        ("jax", "{} of what convolves, normalises", DeepDamping().damping),
        ("jax", "{} where updates are projected", UPDATES),
        ("jax", "with that score and {}, or", NORMALISED),
        ("jax", "{} of plain convolutional networks", convolution()),
        ("jax", "without encoding {} of these", convolution(encode=False)),
        ("jax", "or, for the plain convolutions, {}", convolution()),
        ("transformers", "raise `damping`, {} by default with an adaptive", UPDATES),
        ("when", "with AdamW's {}", UPDATES),
    ],
)
def test_a_page_tells_the_damping_that_is_chosen(
    page: str, words: str, damping: Damping
) -> None:
    text = " ".join((ROOT / "docs" / f"{page}.md").read_text().split())
    found = re.findall(words.replace("{}", DAMPING), text)
    assert {read(told) for told in found} == {damping}
