"""How many threads a process computes with."""

import os

import torch

# Of every thread pool that the packages bring.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(threads: int, backend: str) -> None:
    """Let a backend use so many threads; JAX if nothing has computed with it yet."""
    torch.set_num_threads(threads)
    if backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "").split()
        shared = str(threads > 1).lower()
        flags.append(f"--xla_cpu_multi_thread_eigen={shared}")
        os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys(flags))
        os.environ["NPROC"] = str(threads)
