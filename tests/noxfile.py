"""The tests on other versions: `make versions`, or `nox -f tests/noxfile.py`.

A Python that is not on the machine is fetched by uv. Where it cannot be, the session is
skipped and says so; where CI is set, it fails.
"""

from pathlib import Path

import nox

ROOT = Path(__file__).parents[1]
PYTHONS = ["3.11", "3.12", "3.13"]
# The least that pyproject.toml asks for, and is not brought by another's least.
OLDEST = ["torch==2.6.0", "jax==0.8.0", "jaxlib==0.8.0", "numpy==2.1.0"]
# What is tried with them.
SUITES = ["tests/core", "tests/theorems", "tests/torch_backend", "tests/jax_backend"]

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "auto"
nox.options.envdir = str(ROOT / ".nox")


def test(session: nox.Session, *paths: str) -> None:
    """Run the suites, or what stands behind ``--``."""
    session.chdir(ROOT)
    chosen = session.posargs or paths
    session.run("pytest", "-n", "2", *chosen, env={"OMP_NUM_THREADS": "1"})


@nox.session(python=PYTHONS)
def oldest(session: nox.Session) -> None:
    """Test the packages with the oldest PyTorch and JAX that they take."""
    session.chdir(ROOT)
    session.install("-e", ".[torch,jax,bench,dev]", *OLDEST)
    test(session, *SUITES)


@nox.session(python=PYTHONS)
def pinned(session: nox.Session) -> None:
    """Test everything with the versions of constraints.txt."""
    session.chdir(ROOT)
    session.install("-c", "constraints.txt", "-e", ".[all]")
    test(session)


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """Test everything with the newest versions that there are."""
    session.chdir(ROOT)
    session.install("--upgrade", "-e", ".[all]")
    test(session)
