"""What weight decay takes of old tasks: `python benchmarks/defaults/decay.py OUT`.

Permuted digits and RGO: SGD, whose decay comes after the gradient was projected; SGD
and AdamW whose updates are projected, and with them the decay. ACC / BWT / learning
accuracy in percent.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import rgo_core
import rgo_torch
from rgo_bench.networks import NETWORKS
from rgo_bench.records import describe_environment, write_json
from rgo_bench.streams import make_stream

# What SGD has by default where gradients are projected: the same steps, but for decay.
AS_GRADIENTS: Mapping[str, Any] = {
    "project": "update",
    "damping": rgo_torch.measured_damping("sample", "mean", scaled=False, floored=True),
    "observe": partial(
        rgo_torch.second_moments, per="sample", reduce="mean", curvature="floored"
    ),
}
# Of each form the optimizer, its learning rate, the options of RGO, and the decays.
FORMS: Mapping[str, tuple[Any, float, Mapping[str, Any], tuple[float, ...]]] = {
    "sgd": (torch.optim.SGD, 0.1, {}, (0.0, 1e-4, 5e-4, 5e-3)),
    "sgd, update": (torch.optim.SGD, 0.1, AS_GRADIENTS, (0.0, 1e-4, 5e-4, 5e-3)),
    "adamw": (torch.optim.AdamW, 1e-3, {}, (0.0, 0.01, 0.1, 1.0)),
}


def measure(form: str, decay: float, seed: int) -> list[float]:
    """Learn all tasks; return ACC, BWT and the learning accuracy."""
    make, lr, options, _ = FORMS[form]
    stream = make_stream("permuted-digits", seed=seed)
    model = NETWORKS["mlp"](stream.input_shape, stream.classes, seed)
    optimizer = make(model.parameters(), lr=lr, weight_decay=decay)
    rgo = rgo_torch.RGO(model, optimizer, seed=seed, **options)
    table = np.full((stream.tasks, stream.tasks), np.nan)
    for task in range(stream.tasks):
        x, y = map(torch.from_numpy, stream.train(task))
        batches = list(zip(x.split(stream.batch), y.split(stream.batch), strict=True))
        rgo.begin_task(task)
        for epoch in range(stream.epochs):
            rng = np.random.default_rng([seed, task, epoch])
            for rows in torch.from_numpy(rng.permutation(len(y))).split(stream.batch):
                optimizer.zero_grad()
                cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
        rgo.end_task(batches)
        for old in range(task + 1):
            x, y = map(torch.from_numpy, stream.test(old))
            with rgo.task(old), torch.no_grad():
                table[task, old] = (model(x).argmax(-1) == y).double().mean()
    measured = (
        rgo_core.average_accuracy,
        rgo_core.backward_transfer,
        rgo_core.learning_accuracy,
    )
    return [round(100 * float(each(table)), 2) for each in measured]


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for form, (*_, decays) in FORMS.items():
        for decay in decays:
            runs = [measure(form, decay, seed) for seed in range(given.seeds)]
            rows.append({"form": form, "decay": decay, "runs": runs})
            print(form, decay, np.mean(runs, axis=0).round(2), flush=True)
    environment = describe_environment("torch", device="cpu", threads=1)
    write_json(given.out, {"rows": rows, "environment": environment})


if __name__ == "__main__":
    main()
