"""Workers that saw parts of the data agree, and know what one would know."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_forked
from integrations.own_loop import TASKS, adam, network, sgd, task_data
from torch.distributed import checkpoint
from torch_backend.four_workers import DDP_OPTIONS, RANKS, fresh, save
from torch_backend.nets import assert_same, loss_of
from torch_backend.tolerance import assert_near
from torch_backend.worker_marks import ALONE, NEEDS_GLOO

from rgo_torch import RGO
from rgo_torch.distributed.shares import find_owners, inversion_cost
from rgo_torch.layout import find_layout
from rgo_torch.parameters.found import projected_parameters

SCRIPT = Path(__file__).with_name("four_workers.py")
Found = list[dict[str, Any]]

pytestmark = [NEEDS_GLOO, ALONE]


@cache
def alone(**options: Any) -> dict[str, Any]:
    """Return what one worker has of all the data."""
    model = network()
    optimizer = (adam if "project" in options else sgd)(model.parameters())
    rgo = RGO(model, optimizer, seed=0, **options)
    for task in range(TASKS):
        x, y = task_data(task)
        rgo.begin_task(task)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            optimizer.step()
        rgo.end_task([(x, y)])
    return {"state": rgo.state_dict(), "model": model.state_dict()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where four workers have left what they found."""
    folder = tmp_path_factory.mktemp("workers")
    save(folder / "of-1", alone(), None)
    run_forked(SCRIPT, folder)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    """Return what each of four workers has found."""
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def assert_like(found: dict[str, Any], one: dict[str, Any]) -> None:
    """Demand what one worker has, but for the rounding of sums."""
    for name, weight in one["model"].items():
        assert_near(found["model"][name], weight, amplification=1e4)
    mine, whole = found["state"]["parameters"], one["state"]["parameters"]
    assert list(mine) == list(whole)
    for name, entry in mine.items():
        for key, part in entry.items():
            if part.is_floating_point():
                assert_near(part, whole[name][key], amplification=1e4)
            else:
                assert torch.equal(part, whole[name][key])


@pytest.mark.parametrize("name", ["gradient", "update"])
def test_the_loop_of_one_worker_serves_four(found: Found, name: str) -> None:
    workers = [of_worker[name] for of_worker in found]
    for other in workers[1:]:
        assert_same(workers[0]["state"], other["state"])
        assert_same(dict(workers[0]["model"]), dict(other["model"]))
    assert workers[0]["state"]["finished"] == TASKS
    assert_like(workers[0], alone(**({"project": name} if name == "update" else {})))


def test_shares_of_any_size_add_up_to_the_same(found: Found) -> None:
    assert_like(found[0]["uneven"], alone())
    counts = {
        int(e["count"]) for e in found[0]["uneven"]["state"]["parameters"].values()
    }
    assert counts == {16 * TASKS}


def test_sketches_are_merged_once_for_all(found: Found) -> None:
    first = found[0]["sketch"]["state"]["parameters"]
    for of_worker in found[1:]:
        assert_same(first, of_worker["sketch"]["state"]["parameters"])
    check_sketch(first["0.weight"])


def test_sharded_sketches_are_merged_for_their_owners(found: Found) -> None:
    states = [of["sharded sketch"]["state"]["parameters"] for of in found]
    [entry] = [state["0.weight"] for state in states if "rows" in state["0.weight"]]
    check_sketch(entry)
    for state in states:
        for key in ("projection.factor", "projection.scale"):
            assert torch.equal(state["0.weight"][key], entry[key])


def check_sketch(entry: dict[str, Any]) -> None:
    """Demand a sketch of all that was seen, as near as its rows allow."""
    whole = alone()["state"]["parameters"]["0.weight"]["matrix"]
    assert entry["rows"].shape == (3, 12)
    assert int(entry["count"]) == 16 * TASKS
    left = torch.linalg.eigvalsh(whole - entry["rows"].mT @ entry["rows"])
    slack = 1e-2 * float(entry["trace"])  # weights moved a little otherwise
    assert -slack < float(left.min())
    assert float(left.max()) < float(entry["shrunk"]) + slack


def test_sharded_moments_lie_with_one_worker_each(found: Found) -> None:
    whole = found[0]["gradient"]["state"]["parameters"]
    first = found[0]["sharded"]["state"]["parameters"]
    kept: dict[str, int] = dict.fromkeys(whole, 0)
    for of_worker in found:
        for name, entry in of_worker["sharded"]["state"]["parameters"].items():
            projection = entry["projection"]
            assert torch.equal(projection, first[name]["projection"])
            assert_near(projection, whole[name]["projection"], amplification=1e4)
            if "matrix" in entry:
                kept[name] += 1
                assert_near(entry["matrix"], whole[name]["matrix"], amplification=1e4)
                assert int(entry["count"]) == int(whole[name]["count"])
    assert set(kept.values()) == {1}


@pytest.mark.parametrize("name", DDP_OPTIONS)
def test_every_option_of_ddp_gives_the_same_updates(found: Found, name: str) -> None:
    first, second = (of_worker[f"pair {name}"] for of_worker in found[:2])
    assert_same(first["state"], second["state"])
    assert_like(first, alone(project="update"))


@pytest.mark.parametrize("name", ["pair", "pair hook", "pair accumulated"])
def test_two_of_four_workers_are_a_group_of_their_own(found: Found, name: str) -> None:
    first, second = (of_worker[name] for of_worker in found[:2])
    assert_same(first["state"], second["state"])
    assert_like(first, alone())


def test_gradients_sent_in_half_precision_lose_that_much(found: Found) -> None:
    whole = alone()["model"]
    for name, weight in found[0]["pair half"]["model"].items():
        assert float((weight - whole[name]).norm() / whole[name].norm()) < 2**-10
    first, second = (of_worker["pair half"]["state"] for of_worker in found[:2])
    assert_same(first, second)


def test_workers_that_stay_apart_know_their_own_share(
    found: Found,
) -> None:
    apart = [of_worker["apart"]["state"]["parameters"] for of_worker in found]
    for name, entry in found[0]["gradient"]["state"]["parameters"].items():
        assert int(entry["count"]) == sum(int(mine[name]["count"]) for mine in apart)
        assert not torch.equal(apart[0][name]["matrix"], apart[1][name]["matrix"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", r"worker 1 failed to observe: .*needs at least one batch, got none"),
        ("broken", r"worker 2 failed to observe: OSError\('the disk is gone'\)"),
        ("huge", r"worker 0 failed to consolidate: ValueError\(.*of finite numbers"),
        (
            "other",
            r"all workers must have the same seed, places, options and parameters, got "
            r"{'options': {'damping': 1\.0}} on worker 0 and "
            r"{'options': {'damping': 2\.0}} on worker 1",
        ),
        (
            "layout",
            r"all workers must have the same .* got {'parameters': {'0\.bias': .* on "
            r"worker 0 and {'parameters': {}} on worker 1",
        ),
    ],
)
def test_what_fails_on_one_worker_is_the_error_of_all(
    found: Found, name: str, expected: str
) -> None:
    (said,) = {of_worker[name] for of_worker in found}
    assert re.match(f"RuntimeError: {expected}", said)
    assert said.endswith("| kept (0, 0)")


def test_a_worker_that_dies_stops_the_others(folder: Path) -> None:
    for rank in (0, 1, 3):
        said = (folder / f"{rank}.txt").read_text()
        assert re.match(
            "RuntimeError: a worker was lost, or did not answer in time, as workers "
            "told how it went to observe; the task has not ended, and nothing has",
            said,
        )
        assert said.endswith("| kept (0, 0)")


def test_sharded_moments_are_refused_to_a_worker_by_itself(found: Found) -> None:
    for of_worker in found:
        assert re.match(
            r"ValueError: together=False expects moments='replicated', got 'sharded'",
            of_worker["sharded apart"],
        )
    model = network()
    with pytest.raises(ValueError, match="moments='sharded' expects workers to share"):
        RGO(model, sgd(model.parameters()), moments="sharded")


def test_a_group_is_of_processes_and_has_this_one(found: Found) -> None:
    for of_worker in found[2:]:
        expected = "process_group must contain this process, and rank"
        assert of_worker["outside"].startswith(expected)
    model = network()
    expected = "process_group must be a torch.distributed.ProcessGroup, got 'gloo'"
    with pytest.raises(TypeError, match=expected):
        RGO(model, sgd(model.parameters()), process_group="gloo")


# By the name of a checkpoint: what was saved, by how many workers.
SAVED = {
    "of-4": ("gradient", 4),
    "of-4-sharded": ("sharded", 4),
    "of-2-sharded": ("pair sharded", 2),
}


@pytest.mark.parametrize("source", SAVED)
def test_one_worker_goes_on_from_the_checkpoint_of_several(
    folder: Path, found: Found, source: str
) -> None:
    model, rgo = fresh()
    states = {"model": model.state_dict(), "rgo": rgo.state_dict()}
    checkpoint.load(states, checkpoint_id=folder / source)
    rgo.load_state_dict(states["rgo"])
    names = {
        "of-4": "gradient",
        "of-4-sharded": "sharded",
        "of-2-sharded": "pair sharded",
    }
    parts: dict[str, Any] = {}
    for of_worker in found[: 2 if source.startswith("of-2") else 4]:
        for name, entry in of_worker[names[source]]["state"]["parameters"].items():
            parts.setdefault(name, {}).update(entry)
    for name, entry in rgo.state_dict()["parameters"].items():
        assert_same(entry, {key: parts[name][key] for key in entry})
    assert rgo.finished == TASKS


def test_several_workers_go_on_from_the_checkpoint_of_one_or_four(found: Found) -> None:
    one = alone()["state"]["parameters"]
    four = found[0]["gradient"]["state"]
    for of_worker in found:
        for name, entry in of_worker["sharded from 1"]["parameters"].items():
            assert_same(entry, {key: one[name][key] for key in entry})
    kept = [of_worker["sharded from 1"]["parameters"] for of_worker in found]
    assert sum("matrix" in entry for mine in kept for entry in mine.values()) == len(
        one
    )
    for of_worker in found[:2]:
        assert_same(of_worker["pair from 4"], four)
        shards = of_worker["pair sharded from 4"]["parameters"]
        for name, entry in shards.items():
            projection = found[0]["sharded"]["state"]["parameters"][name]["projection"]
            assert torch.equal(entry["projection"], projection)


def test_several_workers_make_the_projections_of_a_state_anew(
    folder: Path, found: Found
) -> None:
    model, rgo = fresh(damping=5.0)
    states = {"model": model.state_dict(), "rgo": rgo.state_dict()}
    checkpoint.load(states, checkpoint_id=folder / "of-1")
    rgo.load_state_dict(states["rgo"], strict=False)
    one = rgo.state_dict()["parameters"]
    saved = alone()["state"]["parameters"]
    assert not any(
        torch.equal(entry["projection"], saved[name]["projection"])
        for name, entry in one.items()
    )
    for of_worker in found:
        mine = of_worker["sharded under its own"]["parameters"]
        assert list(mine) == list(one)
        for name, entry in mine.items():
            assert_same(entry, {key: one[name][key] for key in entry})


def test_every_worker_has_about_as_much_to_invert() -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(n, 5) for n in (64, 48, 48, 32, 32)))
    parameters = projected_parameters(model, find_layout(model).layers)
    owners = find_owners(parameters, 2)
    costs = {name: inversion_cost(parameters[name]) for name in owners}
    loads = [sum(costs[n] for n in owners if owners[n] == rank) for rank in range(2)]
    assert max(loads) <= 1.2 * min(loads)
    assert owners == find_owners(dict(reversed(parameters.items())), 2)
