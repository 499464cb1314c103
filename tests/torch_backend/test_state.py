"""A state goes every documented way into another process, and changes nothing there."""

import copy
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_backend.nets import assert_same, batch, batches, mlp, sgd, train, wide_mlp
from torch_backend.state_routes import (
    ROUTES,
    all_states,
    attached,
    gone_on,
    learn,
    network,
)

from rgo_core import Relative
from rgo_core.scaling import Normalize
from rgo_torch import RGO, flat_state, nested_state, second_moments
from rgo_torch.options.observing import Observe
from rgo_torch.state.entries import loaded

SCRIPT = Path(__file__).with_name("state_routes.py")
ALONE = pytest.mark.filterwarnings("ignore:torch.distributed is .*:UserWarning")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where one process has saved a run, and another one gone on."""
    folder = tmp_path_factory.mktemp("routes")
    model = network(seed=1)
    optimizer, rgo = attached(model)
    for task in range(2):
        learn(model, optimizer, rgo, task)
    states = all_states(model, optimizer, rgo)
    for route, (save, _) in ROUTES.items():
        save(folder / route, states)
    torch.save(model, folder / "pickle")
    subprocess.run(
        [sys.executable, SCRIPT, folder, "2"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    learn(model, optimizer, rgo, 2)
    torch.save(all_states(model, optimizer, rgo), folder / "expected")
    return folder


@ALONE
@pytest.mark.parametrize("route", [*ROUTES, "pickle"])
def test_a_run_goes_on_in_another_process_to_the_bit(
    route: str, elsewhere: Path
) -> None:
    found = torch.load(elsewhere / f"{route}-after", weights_only=True)
    assert_same(found, torch.load(elsewhere / "expected", weights_only=True))


@ALONE
def test_a_checkpoint_into_the_state_of_a_fresh_start_is_whole(elsewhere: Path) -> None:
    found = gone_on(elsewhere, "distributed", 2)["rgo"]
    assert found["finished"] == 3
    assert all(int(entry["count"]) for entry in found["parameters"].values())


def signs_of(**options: Any) -> Observe:
    return partial(second_moments, **{"reduce": "signs", **options})


def learned(**options: Any) -> tuple[nn.Sequential, RGO]:
    model = mlp()
    rgo = RGO(model, sgd(model), **options)
    rgo.begin_task(0)
    rgo.end_task(batches())
    return model, rgo


def test_a_fresh_state_has_every_matrix_and_protects_nothing_when_loaded() -> None:
    model = wide_mlp()
    options: dict[str, Any] = {"max_features": 12, "sketch_rows": 2}
    rgo = RGO(model, sgd(model), **options)
    state = rgo.state_dict()
    assert list(state["parameters"]) == [name for name, _ in model.named_parameters()]
    for name, moment in state["parameters"].items():
        rows = rgo.projector.parameters[name]
        gradient = torch.randn(rows.tensor.shape)
        _, projection = loaded(rows, moment)
        assert torch.equal(rows.projected(projection, gradient), gradient)
    rgo.load_state_dict(state)
    assert not rgo.projector.projections


def test_a_flat_state_is_named_tensors_that_share_nothing() -> None:
    _, rgo = learned()
    flat = flat_state(rgo.state_dict())
    assert all(tensor.is_contiguous() for tensor in flat.values())
    places = {tensor.untyped_storage().data_ptr() for tensor in flat.values()}
    assert len(places) == len(flat)
    assert_same(nested_state(flat), rgo.state_dict())
    message = r"expected what flat_state made, with the name 'rest', got \['x'\]"
    with pytest.raises(ValueError, match=message):
        nested_state({"x": torch.ones(1)})


def test_a_state_of_finished_tasks_that_holds_nothing_is_refused() -> None:
    _, rgo = learned()
    model = mlp()
    fresh = RGO(model, sgd(model))
    state = fresh.state_dict() | {"finished": 2, "statistics": ({}, {})}
    message = "the state has 2 finished tasks, and no second moment of any parameter"
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(state)
    assert rgo.finished == 1


@pytest.mark.parametrize(
    ("option", "value", "changed"),
    [
        ("per", "batch", {"observe": signs_of(per="batch")}),
        ("reduce", "rms", {"observe": signs_of(reduce="rms")}),
        ("curvature", "exact", {"observe": signs_of(curvature="exact")}),
        ("damping", 0.5, {"damping": 0.5}),
        ("relative", True, {"damping": Relative(0.1)}),
        ("weights", "raw", {"normalize": "none"}),
        ("biases", "normalized", {"normalize": "all"}),
    ],
)
def test_a_state_made_under_another_option_is_refused_by_its_name(
    option: str, value: object, changed: dict[str, Any]
) -> None:
    common: dict[str, Any] = {"damping": 0.1, "observe": signs_of()}
    common["normalize"] = "weights"
    _, rgo = learned(**common)
    model = mlp()
    other = RGO(model, sgd(model), **(common | changed))
    state = rgo.state_dict()
    was = state["options"][option]
    message = rf"the state was made with {option}={was!r} \(here {value!r}\): what was"
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)
    assert other.finished == 0
    # In today's words, with which the state is taken.
    written = {"damping": "damping=0.1", "relative": "damping=0.1"}
    written |= dict.fromkeys(("weights", "biases"), "normalize='weights'")
    bound = "per='sample', reduce='signs', curvature='ground-truth'"
    advice = written.get(option, f"observe=partial(second_moments, {bound})")
    with pytest.raises(ValueError, match=re.escape(f"make the RGO with {advice}, or")):
        other.load_state_dict(state)
    other.load_state_dict(state, strict=False)
    assert other.finished == 1
    assert other.state_dict()["options"][option] == value


def test_a_state_tells_the_limit_of_a_relative_damping() -> None:
    _, limited = learned(damping=Relative(0.1, most=0.5))
    _, free = learned(damping=Relative(0.1))
    _, other = learned(damping=Relative(0.1, most=0.5))
    other.load_state_dict(limited.state_dict())
    message = (
        r"most=0\.5 \(here None\).* make the RGO with damping=Relative\(0\.1, most"
    )
    with pytest.raises(ValueError, match=message):
        free.load_state_dict(limited.state_dict())
    # Of before there was a limit.
    state = free.state_dict()
    del state["options"]["most"]
    free.load_state_dict(state)
    with pytest.raises(ValueError, match=r"most=None \(here 0\.5\)"):
        limited.load_state_dict(state)


def test_a_state_of_the_first_version_is_taken() -> None:
    model, rgo = learned()
    new = rgo.state_dict()
    old = {key: new[key] for key in ("finished", "current", "encoding")} | {
        "version": 1,
        "parameters": {
            name: entry for name, entry in new["parameters"].items() if "4." not in name
        },
    }
    other = copy.deepcopy(model)
    fresh = RGO(other, sgd(other))
    fresh.load_state_dict(old)
    assert set(fresh.projector.projections) == set(old["parameters"])


def grown(model: nn.Sequential, outputs: int) -> nn.Sequential:
    """Return the model with a wider head, whose first rows are the old ones."""
    old, new = model[4], nn.Linear(8, outputs)
    with torch.no_grad():
        new.weight[: old.out_features] = old.weight
        new.bias[: old.out_features] = old.bias
    model[4] = new
    return model


@pytest.mark.parametrize("normalize", ["weights", "all"])
def test_a_head_that_grows_keeps_the_projections_of_its_old_rows(
    normalize: Normalize,
) -> None:
    model, rgo = learned(normalize=normalize)
    x, state = batch()[0], rgo.state_dict()
    with rgo.task(0):
        before = model(x)
    rgo.detach()
    optimizer = sgd(grown(model, 7))
    wider = RGO(model, optimizer, normalize=normalize)
    message = r"4.bias: expected a matrix of shape \(7, 7\), got \(4, 4\)"
    with pytest.raises(ValueError, match=message):
        wider.load_state_dict(state)
    wider.load_state_dict(state, grown=["4"])
    assert wider.finished == 1
    for name, entry in state["parameters"].items():
        P = wider.projector.projections[name]
        if name != "4.bias":
            assert torch.equal(P, entry["projection"])
            continue
        expected = torch.block_diag(entry["projection"], torch.eye(3))
        assert torch.equal(P, expected)
    wider.begin_task(1)
    train(model, optimizer, [(x, y + 3) for x, y in batches(20, seed=4)])
    wider.end_task([(x, y + 3) for x, y in batches(seed=4)])
    assert wider.projector.moments["4.bias"].matrix.shape == (7, 7)
    if normalize == "all":  # which opens closed directions again
        return
    with wider.task(0):
        assert torch.dist(model(x)[:, :4], before) < 0.3 * before.norm()


def test_a_module_that_is_new_is_named_or_refused() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(12, 8)
            self.heads = nn.ModuleList([nn.Linear(8, 4)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            head: torch.Tensor = self.heads[-1](self.body(x).relu())
            return head

    model = Heads()
    rgo = RGO(model, sgd(model), encode=False)
    rgo.begin_task(0)
    rgo.end_task(batches())
    state = rgo.state_dict()
    rgo.detach()
    model.heads.append(nn.Linear(8, 4))
    more = RGO(model, sgd(model), encode=False)
    message = r"lacks the parameters \['heads.1.weight', 'heads.1.bias'\]; if their"
    with pytest.raises(ValueError, match=message):
        more.load_state_dict(state)
    more.load_state_dict(state, grown=["heads.1"])
    more.begin_task(1)
    more.end_task(batches())
    assert int(more.projector.moments["heads.1.weight"].count)
    assert int(more.projector.moments["body.weight"].count) == 96


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("4", "grown must be names in a list, got the string '4'"),
        (["5"], r"grown must name modules among \['0', '2', '4'\], got \['5'\]"),
    ],
)
def test_grown_names_modules(given: Any, message: str) -> None:
    _, rgo = learned()
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(rgo.state_dict(), grown=given)
