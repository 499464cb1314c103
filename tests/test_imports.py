"""Who may import whom, and what a public name owes its reader."""

import ast
import contextlib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rgo_core

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "rgo_core": ROOT / "rgo_core",
    "rgo_torch": ROOT / "backends" / "rgo_torch",
    "rgo_jax": ROOT / "backends" / "rgo_jax",
    "rgo_bench": ROOT / "benchmarks" / "rgo_bench",
}
# One way only, and the two adapters never meet.
ALLOWED = {
    "rgo_core": {"rgo_core"},
    "rgo_torch": {"rgo_core", "rgo_torch"},
    "rgo_jax": {"rgo_core", "rgo_jax"},
    "rgo_bench": set(FOLDERS),
}
CORE_NEEDS = {"numpy", "scipy", "array_api_compat", "rgo_core"}


def packages(nodes: list[ast.stmt] | ast.AST, *, deep: bool) -> set[str]:
    """Name the top packages that code imports, inside functions too where `deep`."""
    found = set()
    for node in ast.walk(nodes) if deep else statements(nodes.body):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """List what runs at import: every statement outside functions."""
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        found.append(node)
        for block in ("body", "orelse", "finalbody"):
            found += statements(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            found += statements(handler.body)
    return found


def sources(package: str) -> dict[str, ast.Module]:
    """Parse the source files of a package."""
    files = sorted(FOLDERS[package].rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in files}


def printed_by(code: str) -> list[str]:
    """Run code in a fresh process and return the words that it prints."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.split()


def test_importing_the_core_loads_no_framework() -> None:
    frameworks = ("torch", "jax", "array_api_strict", "cupy")
    code = f"import sys, rgo_core; print(*set(sys.modules) & set({frameworks}))"
    assert printed_by(code) == []


def test_the_check_of_imports_sees_them_all() -> None:
    code = ast.parse(
        "import a.b\n"
        "try:\n    from c.d import e\nexcept ImportError:\n    import f as g\n"
        "class K:\n    import h\n"
        "def later():\n    import i\n"
        "from . import j\n"
    )
    assert packages(code, deep=False) == {"a", "c", "f", "h"}
    assert packages(code, deep=True) == {"a", "c", "f", "h", "i"}


@pytest.mark.parametrize("package", FOLDERS)
def test_our_packages_import_each_other_one_way(package: str) -> None:
    for path, code in sources(package).items():
        others = packages(code, deep=True) & set(FOLDERS)
        assert others <= ALLOWED[package], path


def test_the_core_needs_three_packages() -> None:
    files = sources("rgo_core")
    assert "rgo_core/__init__.py" in {path.replace("\\", "/") for path in files}
    for path, code in files.items():
        needs = packages(code, deep=False) - set(sys.stdlib_module_names)
        assert needs <= CORE_NEEDS, path


# --- public names

PACKAGES = [rgo_core]
for other in ("rgo_torch", "rgo_jax"):  # each where its framework is
    with contextlib.suppress(ImportError):
        PACKAGES.append(importlib.import_module(other))
NAMES = [
    pytest.param(getattr(package, name), name, id=f"{package.__name__}.{name}")
    for package in PACKAGES
    for name in package.__all__
]
FUNCTIONS = [case for case in NAMES if inspect.isfunction(case.values[0])]


def sections(docstring: str) -> dict[str, str]:
    """Split a numpydoc docstring into its underlined sections."""
    parts = re.split(r"^(\w[\w ]*)\n-+\n", inspect.cleandoc(docstring), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_there(package: ModuleType) -> None:
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize(("public", "name"), NAMES)
def test_every_public_name_has_a_docstring_of_its_own(public: Any, name: str) -> None:
    if not inspect.isfunction(public) and not inspect.isclass(public):
        pytest.skip("a type alias or a constant")
    assert "__doc__" in vars(public) or inspect.isfunction(public)
    first = inspect.cleandoc(public.__doc__ or "").split("\n")[0]
    assert first.endswith((".", "``.")), "one line, and a full stop"
    # What a NamedTuple makes up for itself.
    assert not first.startswith(f"{name}(")


@pytest.mark.parametrize(("function", "name"), FUNCTIONS)
def test_every_public_function_documents_arguments_result_and_use(
    function: Any, name: str
) -> None:
    found = sections(function.__doc__)
    signature = inspect.signature(function)
    for argument in signature.parameters:
        assert re.search(
            rf"^[\w, ]*\b{argument}\b.* : ", found["Parameters"], re.M
        ) or (re.search(rf"^{argument}$", found["Parameters"], re.M)), argument
    assert signature.return_annotation is None or found["Returns"].strip()
    assert f"{name}(" in found["Examples"]


@pytest.mark.parametrize(("function", "name"), FUNCTIONS)
def test_what_a_function_raises_itself_stands_in_its_docstring(
    function: Any, name: str
) -> None:
    found = sections(function.__doc__)
    for node in ast.walk(ast.parse(inspect.getsource(function))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            assert node.exc.func.id in found["Raises"]


def test_importing_a_backend_loads_no_other() -> None:
    for package, other in (("rgo_jax", "torch"), ("rgo_torch", "jax")):
        pytest.importorskip(package)
        code = f"import sys, {package}; print({other!r} in sys.modules)"
        assert printed_by(code) == ["False"], package


def test_importing_rgo_torch_loads_no_library_of_its_integrations() -> None:
    pytest.importorskip("rgo_torch")
    libraries = ("accelerate", "avalanche", "lightning", "transformers")
    code = f"import sys, rgo_torch; print(*set(sys.modules) & set({libraries}))"
    assert printed_by(code) == []


# --- cycles


def imported(package: str) -> dict[str, set[str]]:
    """Name the modules of a package that each of them imports, inside functions too."""
    folder = FOLDERS[package]
    names = {}
    for path in folder.rglob("*.py"):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        names[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return {name: imports_of(code, set(names)) - {name} for name, code in names.items()}


def imports_of(code: ast.Module, known: set[str]) -> set[str]:
    """Name the modules among those known that code imports."""
    found = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            # From a package its modules, or what its `__init__` has.
            found |= (inside & known) or {node.module}
    return found & known


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return the names along a cycle; none if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = next(filter(None, (walk(n, [*path, name]) for n in graph[name])), [])
        done.add(name)
        return found

    return next(filter(None, (walk(name, []) for name in graph)), [])


def test_a_cycle_is_found_wherever_it_is_imported() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"b"}}) == []
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    code = ast.parse("from p import q, r\ndef f():\n    import p.s\n")
    assert imports_of(code, {"p", "p.q", "p.s"}) == {"p.q", "p.s"}
    assert imports_of(code, {"p"}) == {"p"}


@pytest.mark.parametrize("package", FOLDERS)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert cycle_in(imported(package)) == []


def rooms_of(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Map each folder of a package, and each file beside them, to what it imports."""
    rooms: dict[str, set[str]] = {}
    for name, others in graph.items():
        room, *met = (".".join(n.split(".")[:2]) for n in (name, *others))
        rooms.setdefault(room, set()).update(set(met) - {room})
    return rooms


def test_a_circle_of_rooms_is_found_where_files_have_none() -> None:
    files = {
        "p.x.a": {"p.y.b", "p.x.c"},
        "p.y.b": {"p.z"},
        "p.x.c": set(),
        "p.z": {"p"},
    }
    assert rooms_of(files | {"p": set()}) == {
        "p.x": {"p.y"},
        "p.y": {"p.z"},
        "p.z": {"p"},
        "p": set(),
    }
    circle = files | {"p": set(), "p.z": {"p.x.c"}}
    assert cycle_in(circle) == []
    assert cycle_in(rooms_of(circle)) == ["p.x", "p.y", "p.z", "p.x"]


@pytest.mark.parametrize("package", FOLDERS)
def test_no_rooms_import_each_other_in_a_circle(package: str) -> None:
    rooms = rooms_of(imported(package))
    assert max(map(len, rooms.values())) > 1
    assert cycle_in(rooms) == []


def test_the_rooms_of_rgo_torch_import_those_above_them_in_their_table() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text()
    table = text.split("`rgo_torch` has a room")[1].split("`rgo_bench` has such")[0]
    cells = [row.split("|")[0] for row in table.split("\n| ")[3:]]
    place = {
        f"rgo_torch.{room}": number
        for number, cell in enumerate(cells)
        for room in re.findall(r"`(\w+)/`", cell)
    }
    found = FOLDERS["rgo_torch"].glob("*/__init__.py")
    folders = {f"rgo_torch.{path.parent.name}" for path in found}
    rooms = rooms_of(imported("rgo_torch"))
    assert place.keys() == folders
    for room in folders:
        below = {other for other in rooms[room] & folders if place[other] > place[room]}
        assert not below, room


@pytest.mark.parametrize("package", FOLDERS)
def test_no_file_is_long(package: str) -> None:
    paths = FOLDERS[package].rglob("*.py")
    lengths = {str(path): len(path.read_text().splitlines()) for path in paths}
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > 250} == {}


@pytest.mark.parametrize("package", FOLDERS)
def test_every_file_says_in_its_first_line_what_it_is(package: str) -> None:
    for path, code in sources(package).items():
        first = (ast.get_docstring(code) or "").split("\n")[0]
        assert first.endswith((".", "?")), path
