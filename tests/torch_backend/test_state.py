"""A state goes every documented way into another process, and changes nothing there."""

import copy
import io
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_backend.learning import learned
from torch_backend.nets import assert_same, mlp, sgd, wide_mlp
from torch_backend.state_routes import (
    ROUTES,
    all_states,
    attached,
    gone_on,
    learn,
    network,
)

from rgo_core import Relative
from rgo_torch import RGO, flat_state, nested_state, second_moments
from rgo_torch.options.observing import Observe
from rgo_torch.parameters.entries import loaded

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


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def signs_of(**options: Any) -> Observe:
    return partial(second_moments, **{"reduce": "signs", **options})


class Words(nn.Module):
    """Has a second moment of each form: full, a sketch, a diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 12)
        self.body = nn.Linear(12, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(self.words(x)).relu())
        return logits


FORMS: dict[str, Any] = {"max_features": 10, "sketch_rows": 3}


def mixed() -> Words:
    torch.manual_seed(0)
    return Words()


def learn_words(rgo: RGO) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(9, (20,), generator=generator)
    rgo.begin_task(0)
    rgo.end_task([(x, x % 4)])


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


def off_its_place(part: torch.Tensor) -> torch.Tensor:
    """Return a tensor that begins within the memory of another, as safetensors' do."""
    memory = torch.empty(part.numel() + 1, dtype=part.dtype)
    return memory[1:].view(part.shape).copy_(part)


@pytest.mark.parametrize("inference", [False, True])
def test_what_is_loaded_has_memory_of_its_own(inference: bool) -> None:
    model = mixed()
    rgo = RGO(model, sgd(model), **FORMS)
    learn_words(rgo)
    before = copy.deepcopy(rgo.state_dict())
    state = before | {
        "parameters": {
            name: {key: off_its_place(part) for key, part in entry.items()}
            for name, entry in before["parameters"].items()
        }
    }
    other = RGO(model := mixed(), sgd(model), **FORMS)
    with torch.inference_mode(inference):
        other.load_state_dict(state)
    for entry in state["parameters"].values():
        for part in entry.values():
            part.zero_()
    assert_same(other.state_dict(), before)
    for entry in other.state_dict()["parameters"].values():
        for part in entry.values():
            assert part.data_ptr() % 64 == 0  # as PyTorch allocates
            assert not part.is_inference()


def test_a_file_that_is_mapped_may_be_written_anew(tmp_path: Path) -> None:
    _, rgo = learned()
    before = copy.deepcopy(rgo.state_dict())
    torch.save(before, tmp_path / "last.pt")
    model = mlp()
    other = RGO(model, sgd(model))
    mapped = torch.load(tmp_path / "last.pt", weights_only=True, mmap=True)
    other.load_state_dict(mapped)
    storages = {
        part.untyped_storage().data_ptr()
        for entry in mapped["parameters"].values()
        for part in entry.values()
    }
    for entry in other.state_dict()["parameters"].values():
        for part in entry.values():
            assert part.untyped_storage().data_ptr() not in storages
    del mapped
    torch.save(other.state_dict(), tmp_path / "last.pt")
    assert_same(torch.load(tmp_path / "last.pt", weights_only=True), before)


@pytest.mark.parametrize(
    "changed",
    [
        {"damping": 10.0},
        {"damping": Relative(0.5)},
        {"damping": Relative(0.1, most=1e-3)},
        {"normalize": "all"},
    ],
)
def test_projections_are_made_anew_where_a_run_goes_on_under_its_own_options(
    changed: dict[str, Any],
) -> None:
    options: dict[str, Any] = {"damping": Relative(0.1), "normalize": "none", **FORMS}
    options["observe"] = signs_of(curvature="ground-truth")
    rgo = RGO(model := mixed(), sgd(model), **options)
    learn_words(rgo)
    state = copy.deepcopy(rgo.state_dict())
    own = RGO(model := mixed(), sgd(model), **(options | changed))
    learn_words(own)
    other = RGO(model := mixed(), sgd(model), **(options | changed))
    other.load_state_dict(state, strict=False)
    assert_same(other.state_dict(), own.state_dict())
    assert other.plasticity() == own.plasticity()
    assert_same(rgo.state_dict(), state)


def test_projections_stay_where_the_options_that_differ_do_not_matter_to_them() -> None:
    _, rgo = learned(damping=0.5, observe=signs_of())
    _, other = learned(damping=0.5, observe=signs_of(per="batch"))
    state = rgo.state_dict()
    spoiled = torch.full_like(state["parameters"]["0.bias"]["projection"], 0.5)
    state["parameters"]["0.bias"] |= {"projection": spoiled}
    other.load_state_dict(state, strict=False)
    assert torch.equal(other.projector.projections["0.bias"], spoiled)


def test_a_damping_too_small_for_a_state_is_refused_and_nothing_changes() -> None:
    _, rgo = learned(damping=0.5)
    state = rgo.state_dict()
    matrix = state["parameters"]["0.weight"]["matrix"]
    state["parameters"]["0.weight"] |= {"matrix": matrix - 1e-3 * torch.eye(12)}
    _, other = learned(damping=1e-9)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=r"0.weight: I .* = 1e-09 is too small"):
        other.load_state_dict(state, strict=False)
    assert_same(other.state_dict(), before)


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


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_damping_of_numpys_is_a_plain_number_in_the_state(
    kind: type[np.floating[Any]],
) -> None:
    for damping in (kind(0.5), Relative(kind(0.5), most=kind(0.25))):
        _, rgo = learned(damping=damping)
        state = through_a_file(rgo.state_dict())
        options = state["options"]
        assert type(options["damping"]) is float
        assert type(options["most"]) in (float, type(None))
        _, other = learned(damping=Relative(0.5, most=0.25) if options["most"] else 0.5)
        other.load_state_dict(nested_state(flat_state(state)))


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
