"""The examples of the README and of the documentation run as they stand."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import rgo_core
import rgo_jax
import rgo_torch
from rgo_bench.render import render_markdown
from rgo_bench.zoo.record import read_zoo_record
from rgo_bench.zoo.table import zoo_sheet
from rgo_torch.kinds import KINDS

ROOT = Path(__file__).parents[1]


def code_blocks(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_page_with_examples_is_run_here() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    source = Path(__file__).read_text()
    assert all(page in source for page in pages if code_blocks(page))


def loader(task: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(task)
    x = torch.randn(20, 10, 64, generator=generator)
    # Of the first ten pixels, in an order of the task's own, the largest.
    order = torch.randperm(64, generator=generator)[:10]
    return list(zip(x, x[..., order].argmax(-1), strict=True))


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


def test_a_transformer_remembers_its_first_task() -> None:
    torch.manual_seed(0)
    (example,) = code_blocks("docs/transformers.md")
    tasks = [permuted_digits(task) for task in range(2)]
    names: dict = {"stream": [batches * 3 for batches in tasks]}
    exec(example, names)
    model = names["model"].eval()
    with names["rgo"].task(0), torch.no_grad():
        right = [(model(x).argmax(-1) == y).float().mean() for x, y in tasks[0]]
    assert torch.stack(right).mean() > 0.8


def permuted_digits(task: int) -> list[tuple[Tensor, Tensor]]:
    digits = load_digits()
    order = np.random.default_rng(task).permutation(64)
    x = torch.from_numpy(digits.data[:1024, order] / 16).float()
    return list(
        zip(x.split(16), torch.from_numpy(digits.target[:1024]).split(16), strict=True)
    )


def test_the_zoo_s_table_is_that_of_its_records() -> None:
    paths = sorted((ROOT / "benchmarks/results/zoo").rglob("*.json"))
    sheet = zoo_sheet(read_zoo_record(path) for path in paths)
    table = render_markdown(sheet.grids)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    page = (ROOT / "docs/transformers.md").read_text()
    assert "\n".join(rows) in page


def test_the_quick_start_runs() -> None:
    names: dict = {}
    for block in code_blocks("docs/quickstart.md"):
        exec(block, names)
    assert names["logits"].shape == (1, 10)
    assert names["step"].shape == (8, 3)


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


# Theirs.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_examples_with_adapters_remember_their_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    first, *rest = code_blocks("docs/adapters.md")
    exec(first, names)
    assert names["accuracy"] > 0.8
    for block in rest:
        exec(block, names)
    assert list(names["rgo"].encoder.widths) == ["1.down", "1.up", "2"]


def loops() -> dict[str, str]:
    """Return the examples of *In your own loop* by their headings."""
    text = (ROOT / "docs/own-loop.md").read_text()
    return {
        heading: "\n".join(re.findall(r"^```python\n(.*?)^```", section, re.S | re.M))
        for heading, section in re.findall(
            r"^#+ (.+?)\n(.*?)(?=^#+ |\Z)", text, re.S | re.M
        )
    }


LOOPS = loops()
BEFORE_ALL = LOOPS.pop("In your own loop")
DISTRIBUTED = LOOPS.pop("DistributedDataParallel")


# Dynamo's own, which it hides from all but pytest.
@pytest.mark.filterwarnings(
    "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
)
@pytest.mark.parametrize("heading", [name for name, code in LOOPS.items() if code])
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


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="needs gloo",
)
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


def test_the_pictures_that_the_documentation_shows_are_drawn(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-it-works.md").read_text()
    shown = set(re.findall(r"^!\[.+\]\((.+)\)$", page, re.MULTILINE))
    script = ROOT / "docs/pictures.py"
    subprocess.run([sys.executable, "-W", "error", script, tmp_path], check=True)
    assert {path.name for path in tmp_path.iterdir()} == shown
    for name in shown:
        assert (ROOT / "docs" / name).stat().st_size < 60_000


@pytest.mark.parametrize(("jobs", "methods"), [("1", "l2,sgd"), ("2", "l2")])
def test_a_method_of_one_s_own_runs(jobs: str, methods: str, tmp_path: Path) -> None:
    (block,) = code_blocks("docs/own-method.md")
    (tmp_path / "l2.py").write_text(block)
    options = ["--set", "tasks=2", "--set", "samples=50", "--set", "epochs=1"]
    command = ["run", "permuted-digits", "--plugin", "l2", "--method", methods]
    main = "from rgo_bench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, *command, *options, "--jobs", jobs],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("l2/**/seed-0.json"))) == 1


EXPORTED = [
    (package.__name__, name)
    for package in (rgo_core, rgo_torch, rgo_jax)
    for name in package.__all__
]


@pytest.mark.parametrize(("package", "name"), EXPORTED)
def test_every_public_name_is_in_the_reference(package: str, name: str) -> None:
    reference = (ROOT / "docs/reference.md").read_text()
    block = f".. automodule:: {package}\n   :members:\n   :imported-members:"
    assert block in reference
    assert getattr(importlib.import_module(package), name).__doc__
