"""Settings of the property tests and of JAX, and a marker, for every suite here."""

import os
import tempfile
from collections.abc import Generator
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import settings

collect_ignore = ["noxfile.py", "outside/wrong_uses.py"]  # nox's, and mypy's

# The same cases on every run and machine; --hypothesis-profile=thorough looks further.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=20, database=None
)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


# What JAX compiled once, other runs of the same program, the other test process and
# the processes that tests start read back, if it took longer than reading it does.
COMPILED = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

# Programs that run once are not worth optimizing: XLA compiles these in a third of the
# time. It ends a process whose flags it does not know: only of what was tried.
COMPILE_QUICKLY = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
)
TRIED_WITH = "0.10."


def compile_quickly() -> None:
    """Have XLA compile quickly, in this process and those that it starts."""
    try:
        version = metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        return
    if version.startswith(TRIED_WITH) and "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = " ".join(COMPILE_QUICKLY)


compile_quickly()  # before anything imports JAX

# JAX compiles every shape anew; NumPy and PyTorch try all cases of the same laws.
CASES_OF_JAX = 8


@pytest.fixture(autouse=True)
def fewer_cases_of_jax(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Try fewer cases of a property on JAX, unless all are asked for."""
    if "jax" not in request.node.nodeid:
        return
    name = "_hypothesis_internal_use_settings"  # there is no public one
    chosen = getattr(getattr(request, "function", None), name, None)
    if chosen and settings.get_current_profile_name() == "repeatable":
        cases = min(CASES_OF_JAX, chosen.max_examples)
        monkeypatch.setattr(
            request.function, name, settings(chosen, max_examples=cases)
        )


def pytest_configure(config: pytest.Config) -> None:
    """Give all test processes one folder for what JAX compiles."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return  # the user's, or of the process that started this one
    folder = tempfile.TemporaryDirectory(prefix="rgo-tests-jax-")
    config.add_cleanup(folder.cleanup)
    os.environ.update(COMPILED, JAX_COMPILATION_CACHE_DIR=folder.name)
    config.add_cleanup(lambda: os.environ.pop("JAX_COMPILATION_CACHE_DIR"))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail where a file of tests cannot be imported.

    The doctests of a library's module may be left out where an optional library is
    missing; what looks for them meets the files of tests too, first, and then nobody
    else says that they were not run.
    """
    report = yield
    is_test = Path(__file__).parent in collector.path.parents
    if is_test and report.skipped and "unable to import" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"{collector.path}: could not be imported"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are skipped where there is no CUDA, to select them by."""
    for item in items:
        reasons = [mark.kwargs.get("reason") for mark in item.iter_markers("skipif")]
        if "needs a CUDA device" in reasons:
            item.add_marker("cuda")
