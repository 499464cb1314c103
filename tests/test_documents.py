"""The examples of the README and of the documentation run as they stand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from documents import ROOT, code_blocks, loader
from torch import nn
from torch.nn import functional
from torch_backend.nets import assert_same

import rgo_torch
from rgo_torch.layers.kinds import KINDS


def test_every_page_with_examples_is_run_here() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    tests = Path(__file__).parent
    source = "".join(path.read_text() for path in tests.glob("test_*.py"))
    assert all(page in source for page in pages if code_blocks(page))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> None:
    for _ in range(5):
        for x, y in batches:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def test_the_example_of_the_readme_remembers_its_first_task() -> None:
    torch.manual_seed(0)
    right = []

    def evaluate(model: nn.Module) -> None:
        right.extend((model(x).argmax(-1) == y).float().mean() for x, y in loader(0))

    names = {"stream": [loader(0), loader(1)], "train": train, "evaluate": evaluate}
    (example,) = code_blocks("README.md")
    exec(example, names)
    assert isinstance(names["rgo"], rgo_torch.RGO)
    assert torch.stack(right).mean() > 0.8


def test_a_layer_of_one_s_own_remembers_its_first_task() -> None:
    torch.manual_seed(0)
    names: dict = {"stream": [loader(task) * 12 for task in range(2)]}
    try:
        for block in code_blocks("docs/own-layer.md"):
            exec(block, names)
    finally:
        KINDS.pop(names.get("Gated"), None)
    model = names["model"]
    with names["rgo"].task(0), torch.no_grad():
        right = [(model(x).argmax(-1) == y).float().mean() for x, y in loader(0)]
    assert torch.stack(right).mean() > 0.8


def test_a_model_that_places_its_encoding_is_encoded_there() -> None:
    (example,) = code_blocks("docs/options.md")
    names: dict = {}
    exec(example, names)
    images, encoder = torch.randn(2, 1, 8, 8), names["rgo"].encoder
    before = names["model"](images)
    encoder.set_task(1)
    assert not torch.allclose(names["model"](images), before)


@pytest.mark.filterwarnings("ignore:torch.distributed is .*:UserWarning")
def test_every_way_to_save_a_state_goes_on() -> None:
    names: dict = {}
    start, *rest = code_blocks("docs/state.md")
    exec(start, names)
    before = names["rgo"].state_dict()
    for block in rest[:3]:
        exec(block, names)
        assert_same(names["rgo"].state_dict(), before)
    for block in rest[3:]:
        exec(block, names)
    assert_same(names["rgo_of_twin"].state_dict(), before)
    grown = names["rgo"].state_dict()
    assert (grown["finished"], grown["current"]) == (1, 1)
    assert grown["parameters"]["2.bias"]["matrix"].shape == (15, 15)
    assert names["moments"]["kernel"].matrix.dtype == np.float64
    np.testing.assert_array_equal(names["moments"]["kernel"].matrix, 4.0)
    P = names["rgo_jax"].projection_state(names["grown_state"]).biases["bias"]
    assert P[0, 0] < 1
    np.testing.assert_array_equal(P[10:], np.eye(15)[10:])


@pytest.mark.parametrize("library", ["flax", "equinox"])
def test_the_examples_with_jax_remember_their_first_task(library: str) -> None:
    flax, equinox, *rest = code_blocks("docs/jax.md")
    example = flax if library == "flax" else equinox
    assert len([line for line in example.splitlines() if line]) < 40
    tasks = [loader(0), loader(1)]
    batches = [[(x.numpy(), y.numpy()) for x, y in task] * 5 for task in tasks]
    names: dict = {"stream": batches}
    exec(example, names)
    right = [
        (np.asarray(names["logits"](names["params"], x, 0)).argmax(-1) == y).mean()
        for x, y in batches[0]
    ]
    assert np.mean(right) > 0.8
    for block in rest:
        exec(block, names)
    # A pass sees all features, a step some, and the next one others.
    first, second = (names[step]["layers"][2]["kernel"] for step in ("first", "second"))
    assert not np.array_equal(first[...], second[...])
    assert (np.asarray(names["vectors"]["layers/2/kernel"]) != 0).mean() > 0.9
