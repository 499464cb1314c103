"""Permuted MNIST in one file: python docs/permuted_mnist.py [--tasks 5] [--plain].

One network of 784-256-256-10 learns task after task, each with the pixels of MNIST in
another order, a thousand batches of ten. It keeps no image. With --plain it is SGD.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rgo_torch
from rgo_bench.data.mnist import load_mnist

Batches = list[tuple[Tensor, Tensor]]


def pixels(images: Tensor, task: int) -> Tensor:
    """Return the images with their pixels in the order of a task."""
    draw = torch.Generator().manual_seed(task)
    return images[:, torch.randperm(images.shape[1], generator=draw)]


def batches(images: Tensor, labels: Tensor, task: int, samples: int) -> Batches:
    """Draw a task's training samples, other ones each task, in batches of ten."""
    draw = torch.Generator().manual_seed(100 + task)
    chosen = torch.randperm(len(images), generator=draw)[:samples]
    return [(pixels(images[rows], task), labels[rows]) for rows in chosen.split(10)]


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, task: Batches) -> None:
    """Train on a task, once through: the loop that RGO does not touch."""
    for x, y in task:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, task: int) -> float:
    """Return the share of right answers on a task's test images, in percent."""
    answers = model(pixels(images, task)).argmax(-1)
    return 100 * float((answers == labels).float().mean())


def main() -> None:
    """Learn the tasks, and print the accuracy on each of them after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--samples", type=int, default=10_000, help="of each task")
    parser.add_argument("--plain", action="store_true", help="SGD without RGO")
    parser.add_argument("--data", type=Path, help="where MNIST is; else downloaded")
    options = parser.parse_args()

    x, y, x_test, y_test = (torch.tensor(part) for part in load_mnist(options.data))
    x, x_test = x.flatten(1) / 255, x_test.flatten(1) / 255

    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(x.shape[1], 256), nn.ReLU()),
        *(nn.Linear(256, 256), nn.ReLU()),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rgo = None if options.plain else rgo_torch.RGO(model, optimizer, seed=0)
    for task in range(options.tasks):
        data = batches(x, y, task, options.samples)
        if rgo:
            rgo.begin_task(task)
        learn(model, optimizer, data)
        if rgo:
            rgo.end_task(data)
        found = []
        for old in range(task + 1):
            with rgo.task(old) if rgo else nullcontext():
                found.append(accuracy(model, x_test, y_test, old))
        each = " ".join(f"{value:5.1f}" for value in found)
        print(f"after task {task}: {each}   mean {sum(found) / len(found):.2f}")


if __name__ == "__main__":
    main()
