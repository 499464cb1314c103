"""Adapters, and inputs that several of them share, in several processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_forked
from torch_backend.tolerance import assert_near
from torch_backend.worker_marks import NEEDS_GLOO

pytest.importorskip("peft")
pytest.importorskip("transformers")
from torch_backend.adapted_workers import OPTIONS, RANKS, trained

pytestmark = [
    NEEDS_GLOO,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # theirs
]
SCRIPT = Path(__file__).with_name("adapted_workers.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each worker has found."""
    folder = tmp_path_factory.mktemp("adapted")
    run_forked(SCRIPT, folder)
    return [
        torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)
    ]


@pytest.mark.parametrize("name", OPTIONS)
def test_workers_adapt_a_model_as_one_does(
    found: list[dict[str, Any]], name: str
) -> None:
    options = {key: o for key, o in OPTIONS[name].items() if key != "moments"}
    alone = trained(**options)
    for worker in found:
        for entry in ("projections", "weights"):
            assert worker[name][entry].keys() == alone[entry].keys()
        for key, weight in alone["weights"].items():
            assert_near(worker[name]["weights"][key], weight, amplification=1e6)
        for key, projection in alone["projections"].items():
            assert_near(worker[name]["projections"][key], projection, amplification=1e6)
