"""Runs with JAX: a task's training is one compiled program."""

try:
    import jax  # noqa: F401
    import optax  # noqa: F401
except ImportError as error:
    raise ImportError(
        "backend jax: expected JAX and optax to be installed, got neither or one: "
        "pip install 'rgo[jax]'"
    ) from error

from rgo_bench.runs.jit.run import JitRun, run_mapped

__all__ = ["JitRun", "run_mapped"]
