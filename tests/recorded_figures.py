"""The accuracies that records and the paper's tables hold, rounded as pages do it."""

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
FOLDERS = (BENCHMARKS / "results", ROOT / "docs/demo")


def measures(rows: Sequence[Sequence[float]], tasks: int) -> tuple[float, float, float]:
    """Return ACC, BWT and the learning accuracy after so many tasks, from the rows."""
    last, learned = rows[tasks - 1], [rows[i][i] for i in range(tasks)]
    lost = [now - then for now, then in zip(last, learned, strict=True)][:-1]
    return np.mean(last), np.mean(lost) if lost else 0.0, np.mean(learned)


def runs() -> Iterable[list[list[list[float]]]]:
    """Yield the accuracies of every run: of each folder of seeds, one table a seed.

    And of one seed in several orders of the tasks, one table an order.
    """
    folders = defaultdict(list)
    paths = [path for folder in FOLDERS for path in folder.rglob("*-[0-9].json")]
    for path in sorted(paths):
        record = json.loads(path.read_text())
        if "accuracy" in record:
            folders[path.parent].append(record["accuracy"])
            of_order = path.parent.name.startswith("order=")
            base = path.parent.parent / path.name if of_order else path
            folders[base].append(record["accuracy"])
    return folders.values()


def recorded_triples() -> set[tuple[str, str, str]]:
    """Return every "ACC / BWT (learned)" after any number of tasks.

    Of one seed, or of all.
    """
    found = set()
    for seeds in runs():
        for tasks in range(1, min(map(len, seeds)) + 1):
            each = np.array([measures(rows, tasks) for rows in seeds])
            for values in (*each, each.mean(0)):
                for digits in (1, 2):
                    acc, bwt, learned = (f"{value:.{digits}f}" for value in values)
                    found.add((acc, bwt, learned))
    return found


def recorded_spreads() -> set[tuple[str, str]]:
    """Return every "mean ± deviation" over seeds of ACC and of BWT after all tasks."""
    found = set()
    for seeds in runs():
        each = np.array([measures(rows, len(rows)) for rows in seeds])
        for mean, spread in zip(each.mean(0), each.std(0), strict=True):
            found |= {(f"{mean:.{n}f}", f"{spread:.{n}f}") for n in (1, 2)}
    return found


def published() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Return the pairs ACC / BWT and the spreads that the paper's tables print."""
    text = (BENCHMARKS / "rgo_bench/paper/published.toml").read_text()
    pairs, spreads = set(), set()
    for row in lists_of(tomllib.loads(text)):
        means, deviations = row[::2], row[1::2]
        both = list(zip(means, deviations, strict=False))
        spreads |= {(f"{mean:.2f}", f"{deviation:.2f}") for mean, deviation in both}
        pairs |= {(f"{a:.2f}", f"{b:.2f}") for a, b in pairwise(means)}
    return pairs, spreads


def lists_of(table: object) -> Iterable[list[float]]:
    """Yield every list of numbers in a table of tables."""
    if isinstance(table, dict):
        for value in table.values():
            yield from lists_of(value)
    elif isinstance(table, list) and all(isinstance(x, (int, float)) for x in table):
        yield table
