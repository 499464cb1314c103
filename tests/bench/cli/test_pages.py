"""What pages say to type is taken: every flag, and every name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from rgo_bench.cli import running
from rgo_bench.cli.app import app
from rgo_bench.lora.choice import METHODS as OF_ADAPTERS
from rgo_bench.lora.registry import STREAMS as TEXTS
from rgo_bench.measure.cost import parse_subject
from rgo_bench.measure.subjects import SUBJECTS
from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.spec import Spec
from rgo_bench.streams import STREAMS
from rgo_bench.zoo.methods import METHODS as OF_ZOO
from rgo_bench.zoo.registry import ZOO

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
LINE = re.compile(r"^[ $]*(?:srun .*?)?rgo-bench ((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
NAMES: dict[str, dict[str, Any]] = {
    "zoo": {"method": OF_ZOO, "model": ZOO},
    "lora": {"method": OF_ADAPTERS, "stream": TEXTS},
    "steps": {"networks": SUBJECTS},
    "memory": {"networks": SUBJECTS},
    "compare": {"stream": STREAMS},
    "orders": {"method": METHODS, "stream": STREAMS, "network": NETWORKS},
    "table": {"stream": STREAMS, "network": NETWORKS},
}


def commands() -> Iterator[Any]:
    """Yield what stands on a line after ``rgo-bench``, each once."""
    seen = set()
    for page in sorted(PAGES):
        if "_build" in page.parts:
            continue
        for line in LINE.findall(page.read_text()):
            words = shlex.split(line.replace("\\\n", " "), comments=True)
            words = words[: words.index(">")] if ">" in words else words
            if tuple(words) not in seen:
                seen.add(tuple(words))
                yield pytest.param(words, id=f"{page.stem}: {' '.join(words)}")


COMMANDS = list(commands())


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 50


@pytest.mark.parametrize("words", COMMANDS)
def test_what_a_page_says_to_type_is_taken(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group: Any = typer.main.get_command(app)
    name, *rest = words
    context = group.commands[name].make_context(name, rest)
    for parameter, known in NAMES.get(name, {}).items():
        given = context.params[parameter] or []
        texts = [given] if isinstance(given, str) else given
        assert {each for text in texts for each in text.split(",")} <= set(known)
    if name == "cost":
        for subject in context.params["method"].split(","):
            assert parse_subject(subject)[0] in METHODS
    if name == "run" and not context.params["plugin"]:
        assert made_by(context, monkeypatch)


def made_by(context: Any, monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """Return the runs that the command would make."""
    made: list[Spec] = []

    def keep(specs: Any, *args: Any, **options: Any) -> Any:
        made.extend(specs)
        return [], []

    monkeypatch.setattr(running, "run_shown", keep)
    monkeypatch.setattr(running, "run_mapped_shown", lambda *given: keep(*given)[0])
    monkeypatch.setattr(running, "show", lambda sheet: None)
    context.command.invoke(context)
    return made
