import getpass
import json
import platform
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from rgo_bench.records import describe_environment


def test_versions_platform_processor_device_and_threads_are_stated() -> None:
    environment = describe_environment("torch", device="cpu", threads=3)
    assert environment["numpy"] == np.__version__
    assert environment["python"] == platform.python_version()
    assert (environment["device"], environment["threads"]) == ("cpu", 3)
    assert set(environment) == {
        *("python", "rgo", "numpy", "scipy", "torch"),
        *("platform", "processor", "device", "threads"),
    }
    assert all(environment.values())


def test_no_host_user_or_folder_is_named() -> None:
    words = json.dumps(describe_environment("torch", device="cpu", threads=1)).lower()
    assert str(Path.home()).lower() not in words
    assert f'"{getpass.getuser().lower()}"' not in words
    assert not platform.node() or platform.node().lower() not in words


def test_a_backend_that_is_not_installed_is_refused() -> None:
    with pytest.raises(PackageNotFoundError, match="not-a-backend"):
        describe_environment("not-a-backend", device="cpu", threads=1)


def test_compiled_steps_are_stated_where_they_were() -> None:
    options = {"device": "cpu", "threads": 1}
    assert describe_environment("torch", **options, compiled=True)["compiled"] is True
    assert "compiled" not in describe_environment("torch", **options)
