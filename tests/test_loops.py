"""The loops of *In your own loop* run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from documents import ROOT, loader
from torch_backend.worker_marks import NEEDS_GLOO

TAB = re.compile(r"^:::\{tab-item\} (\w+)\n(.*?)^:::$", re.S | re.M)


def sections(language: str, framework: str = "PyTorch") -> dict[str, str]:
    """Return the blocks of *In your own loop* by their headings, of a framework's tabs.

    What stands outside of tabs is PyTorch's.
    """
    text = (ROOT / "docs/own-loop.md").read_text()
    found = {}
    for part in re.split(r"^##? (?=[A-Z]|torch\.)", text, flags=re.M)[1:]:
        tabs = dict(TAB.findall(part))
        own = part if framework == "PyTorch" and not tabs else tabs.get(framework, "")
        blocks = re.findall(rf"^```{language}\n(.*?)^```", own, re.S | re.M)
        if blocks:
            found[part.partition("\n")[0]] = "\n".join(blocks)
    return found


def changed(code: str, diff: str) -> str:
    """Return code with the changes of a diff, whose parts are divided by dots."""
    for part in re.split(r"^\.\.\.\n", diff, flags=re.M):
        lines = part.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


CODE = sections("python")
BEFORE_ALL, PLAIN, DISTRIBUTED = (
    CODE[name]
    for name in ("In your own loop", "The plain loop", "DistributedDataParallel")
)
LOOPS = {"The plain loop": PLAIN} | {
    name: changed(PLAIN, diff) for name, diff in sections("diff").items()
}
BEFORE_JAX, PLAIN_JAX = sections("python", "JAX").values()
LOOPS_OF_JAX = {"The plain loop": PLAIN_JAX} | {
    name: changed(PLAIN_JAX, diff) for name, diff in sections("diff", "JAX").items()
}


# Dynamo's own, which it hides from all but pytest.
@pytest.mark.filterwarnings(
    "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
)
@pytest.mark.parametrize("heading", LOOPS)
def test_an_example_of_a_loop_remembers_its_first_task(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.compiler.reset()
    stream = [loader(task) * 12 for task in range(2)]
    names: dict = {"stream": stream}
    exec(BEFORE_ALL, names)
    exec(LOOPS[heading], names)
    rgo, model = names["rgo"], names["model"].eval()
    assert rgo.state_dict()["finished"] == 2
    with rgo.task(0), torch.no_grad():
        right = [
            (model(x)[:, :10].argmax(-1) == y).float().mean() for x, y in loader(0)
        ]
    assert torch.stack(right).mean() > 0.8


@pytest.mark.parametrize("heading", LOOPS_OF_JAX)
def test_a_loop_with_jax_remembers_its_first_task(heading: str) -> None:
    tasks = [[(x.numpy(), y.numpy()) for x, y in loader(task)] for task in range(2)]
    names: dict = {"stream": [task * 12 for task in tasks]}
    exec(BEFORE_JAX, names)
    exec(LOOPS_OF_JAX[heading], names)
    right = [
        (np.asarray(names["logits"](names["params"], x, 0))[:, :10].argmax(-1) == y)
        for x, y in tasks[0]
    ]
    assert np.mean(right) > 0.8


@NEEDS_GLOO
def test_the_example_with_two_workers_runs(tmp_path: Path) -> None:
    (tmp_path / "ddp.py").write_text(DISTRIBUTED)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "ddp.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
