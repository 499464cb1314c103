"""Single figures that a sentence or a row tells are those of the runs that it names.

Each is looked up by name: of all that was recorded some number is near to any.
"""

import json
from collections.abc import Iterable
from itertools import takewhile
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_figures import ROOT, measures

from rgo_bench.lora.table import lora_rows
from rgo_bench.paper.published import published_gains
from rgo_bench.records import read_records
from rgo_bench.report.comparison import compare_sheet, comparisons
from rgo_bench.report.render import render_markdown
from rgo_bench.zoo.record import read_zoo_records

RESULTS = ROOT / "benchmarks/results"
LENET = RESULTS / "split-cifar100"
MNIST = RESULTS / "permuted-mnist"


def record_in(folder: Path) -> dict[str, Any]:
    """Return the record of seed 0."""
    found: dict[str, Any] = json.loads((folder / "seed-0.json").read_text())
    return found


def told_of(folder: Path, tasks: int) -> tuple[str, str, str]:
    """Return ACC, BWT and the learning accuracy after so many tasks, as pages do."""
    acc, bwt, learned = measures(record_in(folder)["accuracy"], tasks)
    return f"{acc:.2f}", f"{bwt + 0.0:.2f}", f"{learned:.2f}"


def find(lines: Iterable[str], start: str) -> str:
    """Return the one line that starts so."""
    (found,) = (line for line in lines if line.startswith(start))
    return found


def words_of(page: str) -> str:
    """Return a page as one line."""
    return " ".join((ROOT / page).read_text().split())


def spread_of(folder: Path) -> str:
    """Return ACC over all recorded seeds, "mean ± deviation", as pages do."""
    seeds = [json.loads(path.read_text()) for path in folder.glob("seed-*.json")]
    acc = np.array([record["acc"] for record in seeds])
    return f"{acc.mean():.2f} ± {acc.std():.2f}"


FORMS = {
    "**RGO**, as it is by default": "rgo",
    "RGO, projections scaled (`weights=normalized`)": "rgo/weights=normalized",
    "RGO, the paper's form (`per=batch biases=normalized`)": (
        "rgo/biases=normalized,per=batch"
    ),
    "RGO-2, without feature encoding": "rgo-2",
    "RGO-2, projections scaled (`weights=normalized`)": "rgo-2/weights=normalized",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_row_of_rgo_is_that_of_its_records(form: str) -> None:
    cells: list[str] = []
    for stream in ("permuted-mnist", "rotated-mnist"):
        paths = sorted((RESULTS / stream / FORMS[form]).glob("seed-*.json"))
        records = [json.loads(path.read_text()) for path in paths]
        assert len(records) == 5
        tables = [record["accuracy"] for record in records]
        each = np.array([measures(rows, len(rows))[:2] for rows in tables])
        for mean, spread in zip(each.mean(0), each.std(0), strict=True):
            cells.append(f"{mean:.2f} ± {spread:.2f}")
    (row,) = [
        [cell.strip() for cell in line.split("|")]
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith(f"| {form} |")
    ]
    assert [*row[2:4], *row[5:7]] == cells


def test_the_rows_of_jaxs_defaults_are_those_of_their_record() -> None:
    rows = [
        row
        for name in ("jax-defaults", "jax-defaults-rms")
        for row in json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    ]
    cells: dict[str, list[str]] = {}
    for row in rows:
        acc, bwt, _ = np.mean(row["runs"], axis=0)
        named = f"| {row['network']} | {row['optimizer']} |"
        cells.setdefault(named, []).append(f"{acc:.1f} / {bwt:.1f}")
    assert len(cells) == 12
    lines = (ROOT / "docs/jax.md").read_text().splitlines()
    for named, told in cells.items():
        others = told[:3] + (told[-1:] if "| sgd |" in named else [""])
        assert f"{named} {' | '.join(others)} |".replace("|  |", "| |") in lines
    sgd, adamw = (cells[f"| batch-norm | {name} |"][3] for name in ("sgd", "adamw"))
    assert f"it has {sgd} with SGD and {adamw} with AdamW" in words_of("docs/jax.md")


def test_what_weight_decay_takes_is_as_recorded() -> None:
    rows = json.loads((RESULTS / "weight-decay.json").read_text())["rows"]
    names = {"sgd": "SGD, gradients", "sgd, update": "SGD, updates", "adamw": "AdamW"}
    cells: dict[str, dict[str, str]] = {name: {} for name in names.values()}
    for row in rows:
        worn = 1 - exp(
            -1000 * row["decay"] * (0.001 if row["form"] == "adamw" else 0.1)
        )
        acc, bwt, _ = np.mean(row["runs"], axis=0)
        told = f"{100 * worn:.0f} %" if worn else "0"
        cells[names[row["form"]]][told] = f"{acc:.2f} / {bwt:.2f}"
    lines = [
        line.strip() for line in (ROOT / "docs/gotchas.md").read_text().splitlines()
    ]
    shares = [cell.strip() for cell in find(lines, "| | 0 | 1 %").split("|")[2:-1]]
    assert set(shares) == {share for told in cells.values() for share in told}
    for name, told in cells.items():
        row = find(lines, f"| {name}").split("|")[2:-1]
        assert [cell.strip() for cell in row] == [told.get(s, "") for s in shares]


def test_the_rivals_rows_are_those_of_their_records() -> None:
    """As `rgo-bench compare` writes them, without the seconds."""
    asked = ("permuted-mnist", "mlp", 20)
    records = [
        record
        for record in read_records(RESULTS)
        if (record.stream, record.network, len(record.accuracy)) == asked
    ]
    table = render_markdown(compare_sheet(comparisons(records)).grids)
    recorded = {line.rsplit("|", 2)[0].strip() for line in table.splitlines()}
    lines = (ROOT / "docs/rivals.md").read_text().splitlines()
    start = lines.index("| method | variant | seeds | ACC | BWT | MiB | capacity |")
    told = list(takewhile(lambda line: line.startswith("|"), lines[start + 2 :]))
    assert len(told) > 15
    assert {line.rstrip("| ") for line in told} <= {x.rstrip("| ") for x in recorded}


def test_how_far_replay_is_from_rgo_is_as_recorded() -> None:
    rgo, er, der, ring = (
        float(spread_of(MNIST / name)[:5]) for name in ("rgo", "er", "der++", "er-ring")
    )
    page = words_of("docs/rivals.md")
    assert abs(er - rgo) < 0.1  # "level"
    assert f"{der - rgo:.1f}" == "0.5"  # "half a point above"
    for told in (words_of("README.md"), words_of("docs/when.md")):
        assert spread_of(MNIST / "der++") in told
        assert f"at {spread_of(MNIST / 'er')}" in told
    apart = rgo - ring
    assert f"(`er-ring`) replay is {apart:.0f} points below" in page


def test_adapters_end_as_near_to_one_for_each_task_as_recorded() -> None:
    rows = lora_rows(read_zoo_records(RESULTS / "lora", "lora"))
    rows = rows[(rows.variant == "") & rows.stream.str.startswith("minilm")]
    by = rows.pivot(index="stream", columns="method", values=["acc", "bwt"])
    apart = (by.acc["each"] - by.acc["rgo"]).dropna().max()
    assert f"RGO ends within {apart:.1f} points" in words_of("docs/adapters.md")
    assert f"within {apart:.1f} points of one adapter a" in words_of("docs/when.md")
    assert by.bwt["rgo"].min() > -1


SCALE = json.loads((RESULTS / "scale.json").read_text())


def farthest(rows: list[dict[str, Any]], network: str, what: str) -> str:
    """Return the largest distance from one process, as pages write it."""
    distance = max(row[what] for row in rows if row["network"] == network)
    return f"{distance:.0e}".replace("e-0", "e-")


def accuracies(rows: list[dict[str, Any]], network: str) -> list[list[float]]:
    """Return the accuracies of each number of processes."""
    return [row["accuracy"] for row in rows if row["network"] == network]


def test_processes_agree_as_recorded() -> None:
    rows, page = SCALE["rows"], words_of("docs/scale.md")
    exact, after = "P in float64, to one process", "after two tasks, to one process"
    mlp, lenet = (farthest(rows, network, exact) for network in ("mlp", "lenet-5"))
    assert f"that of one process to {mlp} relative (LeNet-5: {lenet})" in page
    weights, P = (farthest(rows, "mlp", f"{what} {after}") for what in ("weights", "P"))
    assert f"are those of one process to {weights}, P to {P}; the accuracies" in page
    one, *several = accuracies(rows, "mlp")
    assert f"the accuracies are the same, {one[0]:.2f} and {one[1]:.2f} %" in page
    assert all(each == one for each in several)


def test_where_processes_part_and_where_not_is_as_recorded() -> None:
    rows, page = SCALE["rows"], words_of("docs/scale.md")
    weights = "weights after two tasks, to one process"
    apart = max(row[weights] for row in rows if row["network"] == "lenet-5")
    one, *several = accuracies(rows, "lenet-5")
    points = max(abs(a - b) for each in several for a, b in zip(each, one, strict=True))
    told = f"weights are {apart:.1f} apart, its accuracies up to {points:.1f} points"
    assert told in page
    double = SCALE["float64"]
    weights, P = (farthest(double, "lenet-5", what) for what in ("weights", "P"))
    told = (
        f"those of one process to {weights}, P to {P}, and the accuracies are the same"
    )
    assert told in page
    one, *several = accuracies(double, "lenet-5")
    assert all(each == one for each in several)


RIVALS = {
    "apd": "epochs=20,network=lenet-5",
    "den": "epochs=20,network=lenet-5,units=1",
    "pgn": "epochs=20,network=lenet-5",
    "rcl": "epochs=20,most=5,network=lenet-5,trials=5",
    "rgo": "epochs=20,network=lenet-5",
}


@pytest.mark.parametrize("method", RIVALS)
def test_a_rival_on_lenet_5_is_told_of_as_recorded(method: str) -> None:
    form, single = RIVALS[method], RIVALS["rgo"]
    record, stl = record_in(LENET / method / form), record_in(LENET / "stl" / single)
    acc, bwt, _ = told_of(LENET / method / form, 20)
    assert f"below STL on the same network ({stl['acc']:.2f})" in words_of(
        "docs/rivals.md"
    )
    weights = record.get("kept", {"capacity": 100})["capacity"]
    cells = f"{acc} / {bwt} | {record['acc'] - stl['acc']:.2f} | {weights:.0f} %"
    lines = (ROOT / "docs/rivals.md").read_text().splitlines()
    assert any(line.startswith(f"| {method} | {cells} |") for line in lines)


def test_what_is_told_of_the_two_that_grow_by_units_is_as_recorded() -> None:
    page, stl = words_of("docs/rivals.md"), record_in(LENET / "stl" / RIVALS["rgo"])
    quoted = published_gains()
    for method in ("den", "rcl"):
        record = record_in(LENET / method / RIVALS[method])
        _, bwt, learned = measures(record["accuracy"], 20)
        apart = record["acc"] - stl["acc"] - quoted[method].points
        worse = f"{stl['acc'] - learned:.1f} points worse than STL"
        side = "nearer to" if apart > 0 else "further below"
        assert f"ends {abs(apart):.1f} points {side} STL than quoted" in page
        assert f"earns each task {worse}" in page
        if bwt < 0:
            assert f"and forgets {-bwt:.1f} of what it learned" in page


DIGITS = RESULTS / "permuted-digits"


def mean_of(folder: Path) -> str:
    """Return ACC / BWT over all recorded seeds, as pages do."""
    records = [json.loads(path.read_text()) for path in folder.glob("seed-*.json")]
    acc, bwt = (
        np.mean([record[name] for record in records]) for name in ("acc", "bwt")
    )
    return f"{acc:.2f} / {bwt:.2f}"


@pytest.mark.parametrize("floored", [False, True])
def test_what_a_floor_under_the_curvature_does_is_as_recorded(floored: bool) -> None:
    variant, longer = (
        ("", "epochs=30")
        if floored
        else (
            "curvature=ground-truth",
            "curvature=ground-truth,epochs=30",
        )
    )
    folders = (
        DIGITS / "rgo" / variant,
        RESULTS / "rotated-digits/rgo" / variant,
        DIGITS / "rgo" / longer,
    )
    cells = " | ".join(map(mean_of, folders))
    name, damping = ("floored", 0.3) if floored else ("ground-truth", 0.1)
    page = words_of("docs/options.md")
    default = ", the default" if floored else ""
    assert f"`curvature={name}` (its damping is {damping}){default} | {cells} |" in page
    stl, sgd = (mean_of(DIGITS / method / "epochs=30") for method in ("stl", "sgd"))
    assert f"every task has {stl[:5]}, SGD {sgd}." in page


def test_lenet_5_with_a_floor_is_told_as_recorded() -> None:
    page = words_of("docs/reproducing.md")
    told = {}
    for damping in ("0.1", "0.2"):
        folder = (
            f"rgo/curvature=floored,damping={damping},epochs=20,network=lenet-5,"
            "reduce=mean"
        )
        acc, bwt, learned = told[damping] = told_of(LENET / folder, 20)
        train = np.mean(record_in(LENET / folder)["train_accuracy"])
        at_ten = told_of(LENET / folder, 10)[0]
        assert f"| {train:.2f} | {acc} | {learned} | {bwt} | {at_ten} |" in page
    default = LENET / "rgo/epochs=20,network=lenet-5"
    acc, bwt, learned = told_of(default, 20)
    train = np.mean(record_in(default)["train_accuracy"])
    at_ten = told_of(default, 10)[0]
    assert f"| {train:.2f} | {acc} | {learned} | {bwt} | {at_ten} |" in page
    assert f"as it is by default, it ends at {acc} / {bwt} ({learned})" in words_of(
        "docs/options.md"
    )
    acc, bwt, learned = told["0.2"]
    at = f"of 0.2 [with a floor](#what-is-fitted) at {acc} / {bwt} ({learned}), seed 0"
    assert at in words_of("docs/options.md")
