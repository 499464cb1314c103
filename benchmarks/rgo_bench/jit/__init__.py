"""Runs with JAX: a task's training is one compiled program."""

from rgo_bench.jit.run import JitRun, run_mapped

__all__ = ["JitRun", "run_mapped"]
