from typing import Any

import numpy as np
import pytest
import torch
from bench.sample_records import make_record
from bench.short_runs import make_method, short_spec
from bench.small_settings import learn

from rgo_bench.methods import METHODS
from rgo_bench.methods.kept import tensor_bytes
from rgo_bench.records.text import parse_record, record_text
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import make_spec

GROWING = ("pgn", "den", "rcl", "apd", "stl")
SHORT: dict[str, dict[str, Any]] = {"rcl": {"trials": 1, "most": 3}}


def test_all_tensors_and_arrays_of_a_state_count() -> None:
    state = {
        "a": torch.zeros(3, dtype=torch.float64),
        "b": [np.zeros(2, dtype=np.float32), {"c": torch.zeros(5, dtype=torch.uint8)}],
        "name": "x",
        "steps": 7,
        "none": None,
    }
    assert tensor_bytes(state) == 24 + 8 + 5


@pytest.mark.parametrize("name", METHODS)
def test_every_method_counts_what_it_keeps(name: str) -> None:
    method = make_method(name, SHORT.get(name))
    learn(method, 0, 1)
    network = sum(p.nbytes for p in method.setting.make_network(0).parameters())
    if name in ("sgd", "stl"):
        assert method.kept_bytes() == network * (2 if name == "stl" else 1)
    else:
        # LOS keeps nothing here but its weights.
        assert method.kept_bytes() >= network + (name != "los")
    assert (method.capacity() > 100) == (name in GROWING)
    assert name in GROWING or method.capacity() == 100


ON_LENET = [(name, "lenet-5") for name in METHODS]


@pytest.mark.parametrize(("name", "network"), [*ON_LENET, ("pgn", "alexnet-6")])
def test_every_method_learns_on_networks_of_the_paper(
    name: str, network: str, tmp_path: Any
) -> None:
    """What encodes features, whose widths are fixed, is part of these."""
    short = {"tasks": 2, "samples": 30, "epochs": 1, **SHORT.get(name, {})}
    spec = make_spec("split-digits", name, 0, short, network=network)
    assert np.isfinite(run(spec, tmp_path).acc)


def test_a_record_states_what_was_kept(tmp_path: Any) -> None:
    record = run(short_spec("pgn"), tmp_path)
    assert record.kept is not None
    assert record.kept["bytes"] > 0
    assert record.kept["capacity"] > 100
    kept = make_record(
        kept={"bytes": 12, "capacity": 100.0}, seconds=record.seconds | {"train": 1.0}
    )
    kept = parse_record(record_text(kept))
    assert kept.kept == {"bytes": 12, "capacity": 100.0}
    assert parse_record(record_text(kept)) == kept
    assert "kept" not in record_text(make_record())


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"bytes": 1}, "kept: expected bytes, capacity, got bytes"),
        (
            {"bytes": -1, "capacity": 100.0},
            "kept: expected a finite number of at least 0 for bytes, got -1",
        ),
        (3, "kept: expected values by name, got 3"),
    ],
)
def test_what_is_not_counted_so_is_refused(kept: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_record(kept=kept)
