"""Settings of the property tests and a marker, for every suite under this folder."""

import pytest
from hypothesis import settings

# The same cases on every run and machine; --hypothesis-profile=thorough looks further.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=20, database=None
)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are skipped where there is no CUDA, to select them by."""
    for item in items:
        reasons = [mark.kwargs.get("reason") for mark in item.iter_markers("skipif")]
        if "needs a CUDA device" in reasons:
            item.add_marker("cuda")
