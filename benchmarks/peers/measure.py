"""What libraries of continual learning add to a step: `python measure.py OUT`.

Permuted MNIST, the paper's network, batches of 10, a few tasks of 1000 steps each: a
plain loop of PyTorch; RGO in it; Avalanche's Naive, A-GEM and EWC strategies; and Naive
with RGO's plugin. Each learns all tasks, one thread, no evaluation, in turn with the
others; the medians are set beside the plain loop's.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training import AGEM, EWC, Naive
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from rgo_bench.networks import NETWORKS
from rgo_bench.records import describe_environment, write_json
from rgo_bench.streams import make_stream
from rgo_torch import RGO
from rgo_torch.integrations.avalanche_plugin import RGOPlugin

BATCH, LEARNING_RATE = 10, 0.1
Task = tuple[Tensor, Tensor]
Run = Callable[[Sequence[Task]], None]


def started() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the network at its first weights, and what steps it."""
    model = NETWORKS["mlp"]((784,), 10, 0)
    return model, torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, task: Task) -> None:
    """See each sample of a task once, in a new order."""
    x, y = task
    for rows in torch.randperm(len(x)).split(BATCH):
        optimizer.zero_grad()
        functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()


def plain(tasks: Sequence[Task]) -> None:
    """Learn in a loop of one's own."""
    model, optimizer = started()
    for task in tasks:
        train(model, optimizer, task)


def protected(tasks: Sequence[Task]) -> None:
    """Learn in the same loop with RGO, observing as many samples as are enough."""
    model, optimizer = started()
    rgo = RGO(model, optimizer, seed=0)
    for number, task in enumerate(tasks):
        rgo.begin_task(number)
        train(model, optimizer, task)
        x, y = task
        rows = torch.randperm(len(x)).split(500)
        batches = [(x[own], y[own]) for own in rows]
        rgo.end_task(batches, samples="enough")


def avalanche(name: str) -> Run:
    """Return a run of one of Avalanche's strategies."""

    def run(tasks: Sequence[Task]) -> None:
        datasets = [_dataset(task) for task in tasks]
        benchmark = benchmark_from_datasets(train=datasets, test=datasets)
        model, optimizer = started()
        options = {
            "model": model,
            "optimizer": optimizer,
            "criterion": nn.CrossEntropyLoss(),
            "train_mb_size": BATCH,
            "evaluator": EvaluationPlugin(loggers=[]),
        }
        made = {
            "avalanche": lambda: Naive(**options),
            "avalanche a-gem": lambda: AGEM(
                patterns_per_exp=256, sample_size=256, **options
            ),
            "avalanche ewc": lambda: EWC(ewc_lambda=10.0, **options),
            "avalanche rgo": lambda: Naive(plugins=[RGOPlugin(seed=0)], **options),
        }
        strategy = made[name]()
        for experience in benchmark.train_stream:
            strategy.train(experience)

    return run


def _dataset(task: Task) -> object:
    data = TensorDataset(*task)
    data.targets = task[1].tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(data)


RUNS: dict[str, Run] = {
    "plain": plain,
    "rgo": protected,
    **{
        name: avalanche(name)
        for name in ("avalanche", "avalanche a-gem", "avalanche ewc", "avalanche rgo")
    },
}


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    stream = make_stream("permuted-mnist", seed=0, tasks=20)
    samples = [stream.train(number) for number in range(chosen.tasks)]
    tasks = [(torch.from_numpy(s.x), torch.from_numpy(s.y)) for s in samples]
    seconds: dict[str, list[float]] = {name: [] for name in RUNS}
    for run in RUNS.values():  # a warm-up
        run([(x[:200], y[:200]) for x, y in tasks[:2]])
    for _ in range(chosen.repeats):
        for name, run in RUNS.items():
            torch.manual_seed(0)
            start = time.perf_counter()
            run(tasks)
            seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["plain"])
    rows = [
        {
            "run": name,
            "seconds": statistics.median(taken),
            "ratio": statistics.median(taken) / base,
        }
        for name, taken in seconds.items()
    ]
    environment = describe_environment("torch", device="cpu", threads=1)
    environment["avalanche-lib"] = version("avalanche-lib")
    found = {"tasks": chosen.tasks, "rows": rows, "environment": environment}
    for row in rows:
        print(f"| {row['run']} | {row['seconds']:.1f} | {row['ratio']:.2f} |")
    write_json(chosen.out, found)


if __name__ == "__main__":
    main()
