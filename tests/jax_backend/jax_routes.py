"""Run by `test_saving`: a process that has nothing but what another one saved."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax_backend.nets import draw

from rgo_jax import (
    empty_moments,
    end_task,
    find_layout,
    load,
    observe,
    project_gradients,
    save,
)

PARAMS = {
    "dense": {"kernel": draw((6, 3)), "bias": draw((3,))},
    "wide": {"kernel": draw((9, 2))},
    "scale": draw((4,)),
}
LAYOUT = find_layout(PARAMS, max_features=8, sketch_rows=2)
OPTIMIZER = optax.chain(
    optax.scale_by_adam(), project_gradients(LAYOUT), optax.scale(-0.1)
)
Run = tuple[Any, Any, Any]  # parameters, the optimizer's state, second moments


def fresh() -> Run:
    return PARAMS, OPTIMIZER.init(PARAMS), empty_moments(PARAMS, LAYOUT)


def learned(run: Run, task: int) -> Run:
    """Return what a run is after a task more: a step, and new projections."""
    params, state, moments = run
    gradients = jax.tree.map(lambda leaf: draw(leaf.shape, 9 + task), params)
    updates, state = OPTIMIZER.update(gradients, state, params)
    vectors = {
        "dense/kernel": draw((5, 6), 1 + task),
        "dense/bias": draw((5, 3), 2 + task),
        "wide/kernel": draw((5, 9), 3 + task),
        "scale": draw((5, 4), 4 + task),
    }
    moments = observe(moments, vectors)
    state = end_task(state, moments, damping=0.1)
    return optax.apply_updates(params, updates), state, moments


def to_file(folder: Path, run: Run) -> None:
    save(folder / "state.npz", run)


def from_file(folder: Path) -> Run:
    run: Run = load(folder / "state.npz", fresh())
    return run


def to_orbax(folder: Path, run: Run) -> None:
    from orbax import checkpoint  # which not all who run the tests have

    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "orbax", jax.device_get(run))


def from_orbax(folder: Path) -> Run:
    from orbax import checkpoint

    with checkpoint.StandardCheckpointer() as checkpointer:
        run: Run = checkpointer.restore(folder / "orbax", jax.device_get(fresh()))
    return run


def to_savez(folder: Path, run: Run) -> None:
    np.savez(folder / "by-hand.npz", *jax.tree.leaves(jax.device_get(run)))


def from_savez(folder: Path) -> Run:
    structure = jax.tree.structure(fresh())
    with np.load(folder / "by-hand.npz") as file:
        leaves = [file[f"arr_{place}"] for place in range(structure.num_leaves)]
    run: Run = jax.tree.unflatten(structure, leaves)
    return run


def to_flax(folder: Path, run: Run) -> None:
    from flax import serialization

    (folder / "flax.msgpack").write_bytes(serialization.to_bytes(run))


def from_flax(folder: Path) -> Run:
    from flax import serialization

    data = (folder / "flax.msgpack").read_bytes()
    run: Run = serialization.from_bytes(fresh(), data)
    return run


ROUTES: dict[str, tuple[Callable[[Path, Run], None], Callable[[Path], Run]]] = {
    "file": (to_file, from_file),
    "orbax": (to_orbax, from_orbax),
    "flax": (to_flax, from_flax),
    "savez": (to_savez, from_savez),
}

if __name__ == "__main__":
    where = Path(sys.argv[1])
    for route, (_, read) in ROUTES.items():
        save(where / f"{route}-after.npz", learned(read(where), 1))
