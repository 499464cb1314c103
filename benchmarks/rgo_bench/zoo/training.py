"""A model of the zoo learns its tasks one after another."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from rgo_bench.zoo.loss import loss
from rgo_bench.zoo.memory import peak_meter
from rgo_bench.zoo.methods import METHODS, Learner, Protected, steps_of, uses_sgd
from rgo_bench.zoo.record import ZooRecord
from rgo_bench.zoo.registry import ZOO, Entry
from rgo_bench.zoo.streams import Samples
from rgo_bench.zoo.turns import Turns


def train(
    name: str,
    method: str,
    seed: int,
    *,
    options: Mapping[str, Any],
    steps: int | None = None,
    environment: Mapping[str, Any],
) -> ZooRecord:
    """Train a model of the zoo with a method and return what came of it.

    Parameters
    ----------
    name : str
        A key of `ZOO`.
    method : str
        A key of `METHODS`.
    seed : int
        Draws the stream, the initial weights, the batches and the encoding.
    options : mapping
        Of `rgo_torch.RGO`, in place of the method's.
    steps : int, optional
        Of a task; the entry's where None.
    environment : mapping
        As `describe_environment` returns it.
    """
    entry = ZOO[name]
    steps = steps_of(entry, method) if steps is None else steps
    tasks = entry.stream(seed)
    _warm_up(entry, tasks[0].train)
    torch.manual_seed(seed)
    model = entry.build()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    peak = peak_meter()
    learner = learner_of(model, method, seed, entry, options)
    turns = Turns(learner, seed, batch=entry.batch)
    learn = turns.learn_together if method == "joint" else turns.learn_in_turn
    learn(tasks, steps)
    return ZooRecord(
        model=name,
        method=method,
        seed=seed,
        options=dict(options),
        training={"steps": steps, "batch": entry.batch, "lr": _rate(method, entry)},
        parameters=parameters,
        accuracy=turns.accuracy,
        seconds=turns.seconds,
        peak_mib=peak(),
        environment=dict(environment),
        **learner.facts(),
    )


def _warm_up(entry: Entry, samples: Samples) -> None:
    """Take a step with another model: what PyTorch then keeps is not the run's."""
    model = entry.build()
    loss(model(samples.x[: entry.batch]), samples.y[: entry.batch]).backward()


def learner_of(
    model: nn.Module, method: str, seed: int, entry: Entry, options: Mapping[str, Any]
) -> Learner:
    """Return the learner of a method with its optimizer, the body frozen if asked.

    Method, seed and options are those of `train`.
    """
    if method == "frozen":
        model.requires_grad_(False)
        model.get_submodule(entry.head).requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    lr = _rate(method, entry)
    optimizer: Optimizer
    if uses_sgd(method):
        optimizer = SGD(trained, lr=lr, momentum=0.9)
    else:
        optimizer = AdamW(trained, lr=lr, fused=True)
    if not method.startswith("rgo"):
        return Learner(model, optimizer)
    chosen = {**METHODS[method], **options}
    if entry.shortcuts and chosen.get("encode", True):
        chosen.setdefault("unencoded", [*entry.shortcuts, entry.head])
    learner = Protected(model, optimizer)
    learner.protect(seed, chosen)
    return learner


def _rate(method: str, entry: Entry) -> float:
    if uses_sgd(method):
        return entry.sgd_lr
    return entry.head_lr if method == "frozen" else entry.lr
