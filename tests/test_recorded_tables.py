"""Tables and pictures of pages are made of the records."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT

from rgo_bench.lora.table import lora_rows, lora_sheet
from rgo_bench.records import read_record
from rgo_bench.report.orders import disparities, order_sheet, order_specs
from rgo_bench.report.render import render_markdown
from rgo_bench.runs.attempts import record_path
from rgo_bench.zoo.methods import uses_sgd
from rgo_bench.zoo.record import read_zoo_record, read_zoo_records
from rgo_bench.zoo.table import zoo_sheet

STATES = ("state", "shared")  # of large models' adapters


@pytest.mark.parametrize("stream", ["rotated-mnist", "split-digits"])
def test_the_tables_of_orders_are_those_of_their_records(stream: str) -> None:
    results = ROOT / "benchmarks/results"
    specs = order_specs(stream, ["rgo", "apd", "sgd"], orders=5, seed=0, options={})
    records = [read_record(record_path(results, spec)) for spec in specs]
    (grid,) = order_sheet(disparities(records)).grids
    rows = [r for r in render_markdown([grid]).splitlines() if r.startswith("|")]
    assert "\n".join(rows) in (ROOT / "docs/rivals.md").read_text()


@pytest.mark.parametrize("with_sgd", [False, True])
def test_the_zoo_s_tables_are_those_of_its_records(with_sgd: bool) -> None:
    records = read_zoo_records(ROOT / "benchmarks/results/zoo")
    chosen = [each for each in records if uses_sgd(each.method) == with_sgd]
    table = render_markdown(zoo_sheet(chosen).grids)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    page = (ROOT / "docs/transformers.md").read_text()
    assert "\n".join(rows) in page


def test_the_adapters_table_is_that_of_their_records() -> None:
    records = read_zoo_records(ROOT / "benchmarks/results/lora", "lora")
    table = render_markdown(lora_sheet(records).grids)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    page = (ROOT / "docs/adapters.md").read_text()
    assert "\n".join(rows) in page


def test_what_is_told_of_adapters_is_what_was_recorded() -> None:
    page = (ROOT / "docs/adapters.md").read_text()
    results = ROOT / "benchmarks/results"
    lora, rgo, shared = read_zoo_records(results / "lora-memory", "lora")
    words = " ".join(page.split())
    more, less = (f"{r.peak_mib / lora.peak_mib:.2f} times" for r in (rgo, shared))
    told = f"{lora.peak_mib:.0f} MiB for LoRA, {rgo.peak_mib:.0f} MiB with RGO: {more}"
    assert told in words
    assert f"take in the same, {shared.peak_mib:.0f} MiB, {less}" in words
    sizes = [f"{each.state_bytes / 2**20:.1f}" for each in (rgo, shared)]
    assert "{} MiB of it are RGO's state, {} where shared".format(*sizes) in words
    # Steps are as long in all tasks; the pass is of as many samples in any run.
    plain = 100 * lora.seconds["train"] / 24
    times = [
        (100 * each.seconds["train"] / 24 + each.seconds["consolidate"] / 4) / plain
        for each in (rgo, shared)
    ]
    told = "at 100 steps a task {:.2f} times LoRA's time, with shared inputs {:.2f}"
    assert told.format(*times) in words
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
        "rnn",
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
