"""Runs of the compiled programs: of one seed, or of several at once."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import rgo_jax
from rgo_bench.methods.method import fitting
from rgo_bench.methods.rgo import SAMPLE_BATCH, SAMPLE_INPUTS, SHARED, RGOOptions
from rgo_bench.methods.stl import task_seed
from rgo_bench.networks import NETWORKS
from rgo_bench.records import Record, check_writable, write_record
from rgo_bench.runs.jit.network import channels_last, convert_params
from rgo_bench.runs.jit.parts import check_supported, compiled, drawn_order, jax_device
from rgo_bench.runs.jit.program import Learner, Task
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.state import RunState, measure_accuracies
from rgo_bench.runs.training import TEST_BATCH, TEST_INPUTS
from rgo_bench.streams import Samples

HOST = torch.device("cpu")
# Waits for arrays, so that their time counts where it belongs.
done: Any = jax.block_until_ready


class JitRun:
    """A run of JAX under way, of one or more seeds that are learned at once.

    The specs are alike but for their seeds. Weights, permutations and the order of the
    samples are those of PyTorch's run.
    """

    def __init__(self, specs: Sequence[Spec], device: str = "cpu") -> None:
        check_supported(specs)
        self.device = jax_device(device)
        self.spec = specs[0]
        self.states = [RunState(spec, HOST) for spec in specs]
        self.so_far = self.states[0]
        self.stream = self.so_far.stream
        self.keeps_tasks = self.spec.method == "stl"
        chosen = self.spec.resolved
        self.options = chosen if isinstance(chosen, RGOOptions) else None
        self.network, self.program = compiled(
            *(self.spec.network, self.stream.input_shape, self.stream.classes),
            lr=self.stream.lr,
            batch=self.stream.batch,
            options=self.options,
            samples=self.stream.samples,
            mapped=len(specs) > 1,
        )
        with jax.default_device(self.device):
            self.learner = self._begin(0)
            self.moments = self._empty_moments()

    def learn(self, reporter: Any) -> None:
        """Learn the next task and test on all tasks so far."""
        index, clock = self.so_far.task, self.so_far.clock
        with jax.default_device(self.device):
            task = self._task(index, [s.stream.train(index) for s in self.states])
            with clock.phase("train"):
                if self.keeps_tasks and index:
                    self.learner = self._begin(index)
                # Rows (steps, batch) and weights, 0 for what fills up a batch.
                order = self._stacked([drawn_order(s, index) for s in self.states])
                trained = self.program.train(self.learner, task, *order)
                self.learner = done(trained)
            with clock.phase("evaluate"):
                # Before RGO computes with numbers that are none.
                self._count(task, slice(self.stream.batch))
            if self.options is not None:
                self._end_task(task)
            with clock.phase("evaluate"):
                keeps = self.keeps_tasks
                measure_accuracies(self.states, self._percents_right, keeps_tasks=keeps)
        reporter.stepped(index, self.spec.stream_options.steps)
        for state in self.states:
            state.task += 1
        reporter.tested(index, self.so_far.average)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `resume` needs."""
        leaves = jax.tree.leaves((self.learner, self.moments))
        copied = [torch.from_numpy(np.array(leaf)) for leaf in leaves]
        return {**self.so_far.state_dict(), "leaves": copied}

    def resume(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        state = self.so_far.resume(path)
        structure = jax.tree.structure((self.learner, self.moments))
        with jax.enable_x64(True), jax.default_device(self.device):
            leaves = [jnp.asarray(leaf.numpy()) for leaf in state["leaves"]]
        self.learner, self.moments = jax.tree.unflatten(structure, leaves)

    def record(self) -> Record:
        """Return the record of a finished run of one seed."""
        return self.records()[0]

    def records(self) -> list[Record]:
        """Return the records of all seeds, each with its share of the time."""
        share = 1 / len(self.states)
        spent = self.so_far.clock.seconds
        for state in self.states:
            state.clock.seconds = {name: share * s for name, s in spent.items()}
        kind = self.device.device_kind if self.device.platform != "cpu" else "cpu"
        return [state.record(kind) for state in self.states]

    def _params(self, seed: int) -> dict[str, dict[str, np.ndarray]]:
        make = NETWORKS[self.spec.network]
        return convert_params(make(self.stream.input_shape, self.stream.classes, seed))

    def _begin(self, task: int) -> Learner:
        seeds = [state.spec.seed for state in self.states]
        drawn = [(self._params(task_seed(s, task)), self._encodings(s)) for s in seeds]
        learner: Learner = self.program.begin(*self._stacked(drawn))
        return learner

    def _encodings(self, seed: int) -> dict[str, rgo_jax.Encoding]:
        if self.options is None or not self.options.encode:
            return {}
        shared, tasks = self.options.permutations == "shared", self.stream.tasks
        return {
            name: rgo_jax.make_encoding(
                width, tasks=tasks, name=SHARED if shared else name, seed=seed
            )
            for name, width in self.network.widths.items()
        }

    def _empty_moments(self) -> Any:
        if self.options is None:
            return {}
        with jax.enable_x64(True):
            empty = rgo_jax.empty_moments(self._params(0), layout=self.network.layout)
            return self._stacked([empty] * len(self.states))

    def _stacked(self, trees: Sequence[Any]) -> Any:
        """Stack what belongs to the seeds; that of one seed stays as it is."""
        if len(trees) == 1:
            return jax.tree.map(jnp.asarray, trees[0])
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def _task(self, index: int, samples: Sequence[Samples]) -> Task:
        def mask(state: RunState) -> np.ndarray:
            found = state.stream.mask(index)
            return np.ones(state.stream.classes, bool) if found is None else found

        tasks = [
            (mask(state), channels_last(own.x), own.y.astype(np.int32))
            for state, own in zip(self.states, samples, strict=True)
        ]
        return Task(jnp.asarray(index, jnp.int32), *self._stacked(tasks))

    def _end_task(self, task: Task) -> None:
        clock = self.so_far.clock
        assert self.options is not None  # plain SGD has no end
        with clock.phase("curvature"):
            size = fitting(SAMPLE_BATCH, SAMPLE_INPUTS, self.stream.input_shape)
            if self.options.per == "batch":
                size = -(-size // self.stream.batch) * self.stream.batch
            seen = self.options.seen(self.stream.samples, self.network.widest)
            for part in self._parts(seen, size):
                samples = self._taken(task, part)
                self.moments = self.program.observe(self.learner, samples, self.moments)
            done(self.moments)
        with clock.phase("consolidate"):
            moments = self.moments.values()
            finite = all(bool(jnp.isfinite(moment.matrix).all()) for moment in moments)
            self.so_far.check_logits(finite)
            ended = self.program.end(self.learner, self.moments)
            self.learner = done(ended)

    def _parts(self, count: int, size: int) -> list[slice]:
        """Return slices of whole mini-batches, and the rest."""
        whole = count - count % self.stream.batch
        edges = [*range(0, whole, size), whole, count]
        return [slice(first, end) for first, end in pairwise(edges) if first < end]

    def _percents_right(self, index: int, samples: Sequence[Samples]) -> list[float]:
        counts = [len(each.y) for each in samples]
        count = max(counts)  # where classes are drawn, seeds have test sets of any size
        task = self._task(index, [filled_up(each, count) for each in samples])
        size = fitting(TEST_BATCH, TEST_INPUTS, self.stream.input_shape)
        parts = (slice(first, first + size) for first in range(0, count, size))
        right = sum(self._count(task, part) for part in parts)
        shares = zip(np.atleast_1d(right), counts, strict=True)
        return [100 * float(each) / own for each, own in shares]

    def _count(self, task: Task, part: slice) -> Any:
        right, finite = self.program.test(self.learner, self._taken(task, part))
        self.so_far.check_logits(bool(np.all(finite)))
        return np.asarray(right)

    def _taken(self, task: Task, part: slice) -> Task:
        if len(self.states) == 1:
            return task._replace(x=task.x[part], y=task.y[part])
        return task._replace(x=task.x[:, part], y=task.y[:, part])


def filled_up(samples: Samples, count: int) -> Samples:
    """Return as many samples as asked for: those more have a label that is no class."""
    more = count - len(samples.y)
    x = np.pad(samples.x, [(0, more)] + [(0, 0)] * (samples.x.ndim - 1))
    return Samples(x, np.pad(samples.y, (0, more), constant_values=-1))


def run_mapped(
    specs: Sequence[Spec], out: Path, *, device: str = "cpu", reporter: Any
) -> list[Record]:
    """Run several seeds at once, as one program, and write their records.

    Nothing is written before the end: a run that was cut off starts again. The times in
    the records are each seed's share.
    """
    check_writable(out)
    running = JitRun(specs, device)
    while running.so_far.task < running.stream.tasks:
        running.learn(reporter)
    records = running.records()
    for record in records:
        write_record(out, record)
    return records
