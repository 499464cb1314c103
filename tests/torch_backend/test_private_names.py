"""The private names of PyTorch stand in one file."""

import ast
from pathlib import Path

import pytest

import rgo_torch

FOLDER = Path(rgo_torch.__file__).parent
# What named tuples have in place of public names.
NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
# What asks for an attribute by a string.
ASKING = {"delattr", "get", "getattr", "hasattr", "setattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def own_names(trees: list[ast.Module]) -> set[str]:
    """Return the private names that a package gives to something itself."""
    found = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if is_private(name)}


def foreign_names(tree: ast.Module, own: set[str]) -> set[str]:
    """Return the private names of others that code asks for.

    An attribute of anything but `self` and `cls`, and of these what the package gives
    to nothing; what is imported from elsewhere; and what is asked for by a string.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not is_self(node.value) or node.attr not in own:
                found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            parts = [*(node.module or "").split("."), *(a.name for a in node.names)]
            if parts[0] not in ("rgo_core", "rgo_torch"):
                found |= {part for part in parts if is_private(part)}
        elif isinstance(node, ast.Import):
            parts = [part for a in node.names for part in a.name.split(".")]
            found |= {part for part in parts if is_private(part)}
        elif isinstance(node, ast.Call) and called(node.func) in ASKING:
            strings = [a.value for a in node.args if isinstance(a, ast.Constant)]
            found |= {s for s in strings if isinstance(s, str) and is_private(s)}
    return found - NAMED_TUPLES


def is_self(node: ast.expr) -> bool:
    """Whether an object is what a method is called on."""
    if isinstance(node, ast.Call):
        return called(node.func) == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def called(function: ast.expr) -> str:
    """Return the name that a function is called by."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@pytest.mark.parametrize(
    "code",
    [
        "torch._C",
        "module._parameters",
        "self.module._parameters",
        "self._parameters",
        "from torch.utils import _pytree",
        "from torch._dynamo import config",
        "import torch._dynamo as dynamo",
        "getattr(module, '_forward_hooks')",
        "module.__dict__.get('_buffers')",
        "super()._apply",
        "def f(tensor):\n    return tensor._version",
    ],
)
def test_a_private_name_of_another_is_found(code: str) -> None:
    assert len(foreign_names(ast.parse(code), set())) == 1


def test_names_of_ones_own_are_none_of_another() -> None:
    code = ast.parse("class K:\n    def _f(self):\n        self._x = self._f()\n")
    assert own_names([code]) == {"_f", "_x"}
    assert not foreign_names(code, own_names([code]))
    code = ast.parse("from rgo_core._checks import check\npair._replace(a='_b')\n")
    assert not foreign_names(code, set())


def test_no_other_file_asks_for_a_private_name() -> None:
    trees = {path: ast.parse(path.read_text()) for path in FOLDER.rglob("*.py")}
    own = own_names(list(trees.values()))
    found = {
        path.relative_to(FOLDER).as_posix(): names
        for path, tree in trees.items()
        if (names := foreign_names(tree, own))
    }
    assert set(found) == {"modules/torch_private.py"}, found
