"""Two processes that train together with a library end as one with all the data."""

from pathlib import Path

import pytest
import torch
from forked import run_forked
from integrations.own_loop import STEPS, TASKS
from torch_backend.tolerance import assert_near
from torch_backend.worker_marks import NEEDS_GLOO

for library in ("transformers", "accelerate", "lightning"):
    pytest.importorskip(library)

from integrations.two_processes import BY  # noqa: E402

SCRIPT = Path(__file__).with_name("two_processes.py")
# The libraries' own.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    NEEDS_GLOO,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two processes have left their weights and RGO's state."""
    folder = tmp_path_factory.mktemp("together")
    run_forked(SCRIPT, folder)
    return folder


@pytest.mark.parametrize("name", BY)
def test_two_processes_learn_and_protect_what_one_does(
    folder: Path, tmp_path: Path, name: str
) -> None:
    alone = BY[name](tmp_path, 1)
    steps = STEPS * TASKS
    for rank in range(2):
        found = torch.load(folder / f"{name}-{rank}.pt")
        for weight, expected in alone["weights"].items():
            # A step of Adam's is as long whatever the rounding before.
            assert_near(found["weights"][weight], expected, amplification=1e3 * steps)
        assert found["state"]["finished"] == TASKS
        parameters = found["state"]["parameters"]
        for parameter, entry in alone["state"]["parameters"].items():
            projection = parameters[parameter]["projection"]
            assert_near(projection, entry["projection"], amplification=1e4 * steps)
