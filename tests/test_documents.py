"""The examples of the README and of the documentation run as they stand."""

import importlib
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from types import ModuleType

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.nets import assert_same

import rgo_core
import rgo_jax
import rgo_torch
from rgo_bench.lora.table import lora_rows, lora_sheet
from rgo_bench.report.render import render_markdown
from rgo_bench.zoo.record import read_zoo_record, read_zoo_records
from rgo_bench.zoo.table import zoo_sheet
from rgo_torch.layers.kinds import KINDS

ROOT = Path(__file__).parents[1]
PAGE = "docs/fine-tune.md"
STATES = ("state", "shared")  # of large models' adapters


def code_blocks(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_page_with_examples_is_run_here() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    tests = Path(__file__).parent
    source = "".join(path.read_text() for path in tests.glob("test_*.py"))
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
    np.testing.assert_array_equal(names["moments"]["kernel"].matrix, 8.0)


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


# Theirs.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_tutorial_keeps_what_a_plain_adapter_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate")  # the Trainer's
    pytest.importorskip("peft")
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    try:
        for block in code_blocks(PAGE):
            exec(block, names)
    finally:
        pyplot.close("all")
    assert fmean(names["plain"][-1]) < 0.6
    assert min(names["kept"][-1]) > 0.9
    assert min(names["trained"]) > 0.9
    drawn = re.findall(r"^!\[.+\]\((.+)\)$", (ROOT / PAGE).read_text(), re.MULTILINE)
    for name in drawn:
        assert (tmp_path / name).stat().st_size < 60_000
        assert (ROOT / "docs" / name).stat().st_size < 60_000
    assert len(drawn) == 1


def test_the_adapters_table_is_that_of_their_records() -> None:
    records = read_zoo_records(ROOT / "benchmarks/results/lora", "lora")
    table = render_markdown(lora_sheet(records).grids)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    page = (ROOT / "docs/adapters.md").read_text()
    assert "\n".join(rows) in page


def test_what_is_told_of_adapters_is_what_was_recorded() -> None:
    page = (ROOT / "docs/adapters.md").read_text()
    results = ROOT / "benchmarks/results"
    lora, rgo = read_zoo_records(results / "lora-memory", "lora")
    ratio = f"{rgo.peak_mib / lora.peak_mib:.2f} times"
    assert f"{lora.peak_mib:.0f} MiB for LoRA, {rgo.peak_mib:.0f} MiB" in page
    assert ratio in page
    # Steps are as long in all tasks; the pass is of as many samples in any run.
    plain, own = lora.seconds["train"] / 24, rgo.seconds["train"] / 24
    time = (100 * own + rgo.seconds["consolidate"] / 4) / (100 * plain)
    assert f"at 100 steps a task {time:.2f} times" in page
    counted = json.loads((results / "memory-adapters.json").read_text())["rows"]
    for row in counted[:3]:  # of Llama
        unit, size = ("MiB", 2**20) if row["sketch_rows"] == 64 else ("GiB", 2**30)
        cells = [f"{row[f'{key}_bytes'] / size:.1f} {unit}" for key in STATES]
        assert f"| {' | '.join(cells)} |" in page
    for record in read_zoo_records(results / "lora", "lora"):
        first = record.seed == 0 and not record.variant
        told = record.model.startswith("minilm") and first
        if told and "moment tasks" in record.abilities:
            names = ("given", "moment tasks", "moment accuracy")
            cells = " | ".join(f"{record.abilities[name]:.1f}" for name in names)
            assert f"| {record.model} | {cells} |" in page


def test_the_readme_tells_of_adapters_what_was_recorded() -> None:
    rows = lora_rows(read_zoo_records(ROOT / "benchmarks/results/lora", "lora"))
    readme = (ROOT / "README.md").read_text()
    for method in ("lora", "rgo", "each"):
        found = {
            row.stream: f"{row.acc:.1f} / {row.bwt:.1f}"
            for row in rows.itertuples()
            if row.method == method and not row.variant
        }
        streams = ("modules", "packages", "languages")
        cells = " | ".join(found[f"minilm-{stream}"] for stream in streams)
        assert cells.replace("0.0", "0") in readme.replace("0.0", "0")


def test_adapters_in_jax_are_the_zero_function_in_any_order() -> None:
    _, equinox, _ = code_blocks("docs/jax-adapters.md")
    names: dict = {"stream": [None] * 2}
    exec(equinox, names)
    layer, x = names["network"].layer, np.linspace(-1, 1, 64, dtype=np.float32)
    for task in range(2):
        assert np.array_equal(layer(x, task), layer.base(x))
    trained = names["params"]
    assert trained.layer.base.weight is None
    assert trained.layer.a.weight is not None


def test_the_loop_with_adapters_in_jax_trains_them_alone() -> None:
    flax, _, loop = code_blocks("docs/jax-adapters.md")
    stream = [
        [(x.numpy(), y.numpy()) for x, y in permuted_digits(task)[:4]]
        for task in range(2)
    ]
    names: dict = {"stream": stream}
    exec(flax, names)
    before = names["params"]
    exec(loop, names)
    assert not any("base" in name for name in names["moments"])
    assert len(names["moments"]) == 4  # a, b, and the head's kernel and bias
    closed = np.linalg.eigvalsh(names["protection"].weights["layer/a/kernel"])
    assert closed.min() < 0.5 < 1 < closed.max()
    moved = names["params"]["layer"]["b"]["kernel"]
    assert not np.array_equal(moved[...], before["layer"]["b"]["kernel"][...])


def sections(language: str) -> dict[str, str]:
    """Return the blocks of *In your own loop* by their headings."""
    text = (ROOT / "docs/own-loop.md").read_text()
    found = {}
    for part in re.split(r"^##? (?=[A-Z]|torch\.)", text, flags=re.M)[1:]:
        blocks = re.findall(rf"^```{language}\n(.*?)^```", part, re.S | re.M)
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
    for name in ("In your own loop", "Plain PyTorch", "DistributedDataParallel")
)
LOOPS = {"Plain PyTorch": PLAIN} | {
    name: changed(PLAIN, diff) for name, diff in sections("diff").items()
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


def test_the_readme_tells_of_the_zoo_what_was_recorded() -> None:
    paths = (ROOT / "benchmarks/results/zoo").rglob("*.json")
    records = {(r.model, r.method, r.variant): r for r in map(read_zoo_record, paths)}
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| | AdamW | AdamW + RGO |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| .+? \| (\S+ / \S+) \| (\S+ / \S+) \|$", table, re.M)
    models = (
        "vit",
        "bert",
        "llama",
        "resnet-batch",
        "convnext",
        "unet",
        "gru",
        "audio",
    )
    for model, cells in zip(models, told, strict=True):
        own = [records[model, method, ""] for method in ("plain", "rgo")]
        assert cells == tuple(f"{r.acc:.1f} / {r.bwt:.1f}" for r in own), model


def test_the_first_picture_is_drawn_from_the_records_of_the_demo(
    tmp_path: Path,
) -> None:
    drawing = runpy.run_path(str(ROOT / "docs/demo_picture.py"))
    drawing["main"](tmp_path)
    drawn = (tmp_path / "demo.svg").read_text()
    shown = (ROOT / "docs/demo.svg").read_text()
    lines = [re.findall(r"<path d=\"(M [^\"]+)\"", text) for text in (drawn, shown)]
    assert len(lines[0]) == len(lines[1]) > 4
    names = [re.findall(r">([^<>\n]+)</text>", text) for text in (drawn, shown)]
    assert names[0] == names[1]
    assert {"rgo", "sgd"} <= {name.split()[0] for name in names[1]}
    assert len(shown) < 60_000


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
    main = "from rgo_bench.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, *command, *options, "--jobs", jobs],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("l2/**/seed-0.json"))) == 1


def listed() -> set[str]:
    """Return the names that have a page of their own in the reference, in full."""
    module, names = "", []
    for line in (ROOT / "docs/reference.md").read_text().splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r"   [\w.]+", line):
            names.append(f"{module}.{line.strip()}")
    assert len(names) == len(set(names))
    return set(names)


def test_every_name_of_the_reference_is_there() -> None:
    for name in listed():
        module, _, own = name.rpartition(".")
        if "integrations" not in module:  # their libraries are not always there
            assert hasattr(importlib.import_module(module), own), name


@pytest.mark.parametrize("package", [rgo_core, rgo_torch, rgo_jax])
def test_every_public_name_is_in_the_reference(package: ModuleType) -> None:
    # What is the core's stands there.
    shown = {
        name
        for name in package.__all__
        if package is rgo_core
        or getattr(package, name) is not getattr(rgo_core, name, None)
    }
    assert {f"{package.__name__}.{name}" for name in shown} <= listed()
    # What is imported and not in __all__ is not shown.
    bound = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert bound == set(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        if callable(value):
            # A class would inherit one.
            own = vars(value) if isinstance(value, type) else {}
            text = own.get("__doc__") if own else value.__doc__
            summary = (text or "").partition("\n")[0]
            assert summary.endswith("."), f"{name} has no summary of its own"
