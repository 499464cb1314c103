"""LeNet-5 over several seeds: the tables of the pages are those of the records."""

import json
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT
from recorded_figures import measures

LENET = ROOT / "benchmarks/results/split-cifar100"
PAPERS = (
    "rgo/biases=normalized,damping=0.01,epochs=20,network=lenet-5,per=batch,"
    "permutations=shared,softmax=present"
)
DEFAULT = "rgo/epochs=20,network=lenet-5"
ONE = "rgo/damping=1,epochs=20,network=lenet-5"
FLOORED = "rgo/curvature=floored,damping=0.2,epochs=20,network={},reduce=mean"
LATE = FLOORED.format("lenet-5-late")
STL = "stl/epochs=20,network=lenet-5"
SCALED = "scaled, encoded from the flatten on"
ROWS = {
    "RGO, the paper's form (`preset=paper`)": PAPERS,
    "RGO, as it is by default": DEFAULT,
    "the same with a damping of 1 (`damping=1`)": ONE,
    "means, the relative damping (`reduce=mean`)": f"{DEFAULT},reduce=mean",
    "means with a floor and 0.2": FLOORED.format("lenet-5"),
    SCALED: ("rgo/epochs=20,network=lenet-5-late,weights=normalized"),
    "means with a floor and 0.2, encoded from the flatten on": LATE,
    "STL": STL,
}
README = {
    "RGO, as it is by default": DEFAULT,
    "RGO, the paper's form (`preset=paper`)": PAPERS,
    "means with a floor, damping 0.2": LATE,
    "STL, a new network for every task": STL,
}


def seeds_of(folder: str) -> dict[int, np.ndarray]:
    """Return ACC and BWT by seed."""
    paths: list[Path] = sorted((LENET / folder).glob("seed-*.json"))
    tables = {int(p.stem[-1]): json.loads(p.read_text())["accuracy"] for p in paths}
    return {seed: np.array(measures(a, len(a))[:2]) for seed, a in tables.items()}


def spreads(values: dict[int, np.ndarray]) -> list[str]:
    each = np.array(list(values.values()))
    return [
        f"{a:.2f} ± {b:.2f}" for a, b in zip(each.mean(0), each.std(0), strict=True)
    ]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_seed_by_seed_is_that_of_the_records(name: str) -> None:
    found = seeds_of(ROWS[name])
    shown = 1 if name == "STL" else 2  # which forgets nothing
    cells = [
        " / ".join(f"{value:.2f}" for value in found[seed][:shown])
        if seed in found
        else ""
        for seed in range(5)
    ]
    line = " | ".join([name, *cells, " / ".join(spreads(found)[:shown])])
    row = f"| {line} |".replace("|  |", "| |").replace("|  |", "| |")
    assert row in (ROOT / "docs/reproducing.md").read_text()


@pytest.mark.parametrize("name", README)
def test_a_row_of_the_readme_is_that_of_the_records(name: str) -> None:
    found = seeds_of(README[name])
    acc, bwt = spreads(found)
    forgotten = "0" if name.startswith("STL") else bwt
    line = f"{name} | {acc} | {forgotten} | {len(found)} |"
    assert line in (ROOT / "README.md").read_text()


def above(other: str, folder: str) -> list[float]:
    """Return by how much ACC is above another's, seed by seed."""
    theirs, own = seeds_of(other), seeds_of(folder)
    return [own[seed][0] - theirs[seed][0] for seed in sorted(own)]


def above_stl(folder: str) -> list[float]:
    return above(STL, folder)


def test_what_is_told_of_stl_seed_by_seed_is_as_recorded() -> None:
    late = above_stl(LATE)
    *first, last = (f"{each:.2f}" for each in late)
    page = " ".join((ROOT / "docs/reproducing.md").read_text().split())
    assert f"STL: by {', '.join(first)} and {last} seed by seed" in page
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"the third row is above STL by {np.mean(late):.2f}" in readme
    default = np.mean(above(PAPERS, DEFAULT))
    assert f"default is above the paper's form by {default:.2f}" in readme
    *first, last = (f"{each:.2f}" for each in above_stl(ROWS[SCALED]))
    assert f"scaled by {', '.join(first)} and {last}." in page
    acc, bwt = np.mean(list(seeds_of(PAPERS).values()), axis=0)
    assert f"it ends {81.03 - acc:.2f} points below the paper" in page
    assert f"below the paper and forgets {-0.99 - bwt:.2f} more" in page
    assert len(late) == 3
    others = [seeds for name, seeds in ROWS.items() if name not in ("STL", SCALED)]
    for folder in set(others) - {LATE}:  # "All other forms end below STL"
        assert np.mean(above_stl(folder)) < 0
