"""The reference has every public name."""

import importlib
import re
from types import ModuleType

import pytest
from documents import ROOT

import rgo_core
import rgo_jax
import rgo_torch


def listed() -> set[str]:
    """Return the names that have a page of their own in the reference, in full."""
    module, names = "", []
    for line in (ROOT / "docs/reference.md").read_text().splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r"   [\w.]+", line):
            names.append(f"{module}.{line.strip()}")
    assert len(names) == len(set(names))
    return set(names)


def test_every_name_of_the_reference_is_there() -> None:
    for name in listed():
        module, _, own = name.rpartition(".")
        if "integrations" not in module:  # their libraries are not always there
            assert hasattr(importlib.import_module(module), own), name


@pytest.mark.parametrize("package", [rgo_core, rgo_torch, rgo_jax])
def test_every_public_name_is_in_the_reference(package: ModuleType) -> None:
    # What is the core's stands there.
    shown = {
        name
        for name in package.__all__
        if package is rgo_core
        or getattr(package, name) is not getattr(rgo_core, name, None)
    }
    assert {f"{package.__name__}.{name}" for name in shown} <= listed()
    # What is imported and not in __all__ is not shown.
    bound = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert bound == set(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        if callable(value):
            # A class would inherit one.
            own = vars(value) if isinstance(value, type) else {}
            text = own.get("__doc__") if own else value.__doc__
            summary = (text or "").partition("\n")[0]
            assert summary.endswith("."), f"{name} has no summary of its own"
