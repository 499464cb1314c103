"""Every error and every warning of the project has a test that quotes its message."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("rgo_core", "backends", "benchmarks/rgo_bench")
# So many characters in a row that a test and one message alone have are no accident.
RUN = 12
# What `re.escape` and raw strings put into a message that is quoted.
ESCAPES = str.maketrans("", "", "\\")
# Caught where they are raised: what follows is tested, the message never seen.
CAUGHT = ("a single sequence is one sample",)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def message_of(call: ast.Call) -> ast.expr | None:
    """Return what a call that makes an error or warns is given to say."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else ""
    if isinstance(function, ast.Name):
        name = function.id
    if name == "_expect":  # a condition, a field, and what is expected of it
        return call.args[2]
    says = name.endswith("Error") or name in ("warn", "_refuse", "BadParameter")
    return call.args[0] if says and call.args else None


def constants(node: ast.AST) -> list[str]:
    return [
        inner.value
        for inner in ast.walk(node)
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    ]


def messages() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield where messages are made, with what is the same in all made there.

    Of those that a function makes or a variable holds nothing is.
    """
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            for node in ast.walk(parsed(path)):
                said = message_of(node) if isinstance(node, ast.Call) else None
                # What a function makes of its arguments is not seen here.
                if said is not None and not isinstance(said, ast.Call):
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield place, tuple(constants(said))


def runs(parts: tuple[str, ...]) -> set[str]:
    return {part[i : i + RUN] for part in parts for i in range(len(part) - RUN + 1)}


def test_every_message_is_quoted_by_a_test() -> None:
    quoted: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        quoted |= runs(
            tuple(text.translate(ESCAPES) for text in constants(parsed(path)))
        )
    made = list(messages())
    # The same message may be made in several places.
    shared = Counter(
        run for parts in {parts for _, parts in made} for run in runs(parts)
    )
    unquoted = []
    for place, parts in made:
        own = {run for run in runs(parts) if shared[run] == 1}
        if own and not own & quoted and not any(c in p for c in CAUGHT for p in parts):
            unquoted.append(f"{place}: {' ... '.join(parts)}")
    assert len(made) > 300
    assert not unquoted, "no test quotes:\n" + "\n".join(unquoted)
