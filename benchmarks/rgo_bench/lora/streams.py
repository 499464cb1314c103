"""Streams of real text that comes with packages: four tasks of telling four sources."""

import gettext
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

from rgo_bench.streams.draws import task_generator
from rgo_bench.zoo.models.hugging_face import minilm_pieces, need
from rgo_bench.zoo.streams.standard_library import module_text, windows
from rgo_bench.zoo.streams.tasks import Task, told_apart

TASKS, CLASSES = 4, 4
PIECES: Final = 24  # of a snippet, its first and last sign counted
SNIPPETS: Final = 300  # of a source at most
TEST_EVERY: Final = 5

# Modules that every Python from 3.11 on has as one file of more than 50 kB.
MODULES: Final = (
    *("_pydecimal", "argparse", "configparser", "difflib", "doctest", "enum"),
    *("imaplib", "inspect", "mailbox", "optparse", "pickle", "pydoc"),
    *("subprocess", "tarfile", "turtle", "typing"),
)
# Packages whose documentation lies in their docstrings.
PACKAGES: Final = (
    *("flax.nnx", "jax.lax", "matplotlib.pyplot", "numpy", "numpy.linalg", "optax"),
    *("scipy.linalg", "scipy.optimize", "scipy.signal", "scipy.sparse"),
    *("scipy.special", "scipy.stats", "sklearn.ensemble", "sklearn.metrics"),
    *("torch", "torch.nn"),
)
# Of the translations of Sphinx those with the most text.
LANGUAGES: Final = (
    *("ca", "el", "es", "fa", "fr", "gl", "hi", "id"),
    *("ka", "pt_BR", "ru", "sk", "sq", "sv", "tr", "zh_CN"),
)


def text_stream(name: str, seed: int) -> list[Task]:
    """Return four tasks of telling which of four sources a snippet of text is from.

    Each task has four other sources, drawn by the seed, which share four outputs. A
    snippet is 22 word pieces of MiniLM that follow each other, between its first and
    last sign (N, 24), and no two overlap.
    """
    names, text_of = SOURCES[name]
    order = task_generator(seed, 0, "classes").permutation(len(names))
    pieces = minilm_pieces()
    tasks = []
    for own in order.reshape(TASKS, CLASSES):
        snippets = [_snippets(text_of(names[i]), pieces) for i in own]
        tasks.append(told_apart(snippets, every=TEST_EVERY))
    return tasks


def package_text(name: str) -> str:
    """Return the docstrings of what a package has, in the order of the names."""
    return "\n".join(dict.fromkeys(_docstrings(need(name))))


def language_text(name: str) -> str:
    """Return the messages of Sphinx in a language."""
    root = Path(need("sphinx").__file__).parent
    file = root / "locale" / name / "LC_MESSAGES" / "sphinx.mo"
    with file.open("rb") as opened:
        catalog: Mapping[Any, str] = gettext.GNUTranslations(opened)._catalog  # type: ignore[attr-defined]
    translated = (text for key, text in catalog.items() if key and text != key)
    return "\n".join(re.sub(r"[%{(][^\s]*", "", text) for text in translated)


def pieces_of(texts: Sequence[str], length: int) -> Tensor:
    """Return the first word pieces of each text, (N, length), zero after the last."""
    pieces = minilm_pieces()
    rows = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in zip(rows, texts, strict=True):
        first, *inner, last = pieces.encode(text).ids
        ids = [first, *inner[: length - 2], last]
        row[: len(ids)] = torch.tensor(ids)
    return rows


SOURCES: Final[Mapping[str, tuple[tuple[str, ...], Callable[[str], str]]]] = {
    "modules": (MODULES, module_text),
    "packages": (PACKAGES, package_text),
    "languages": (LANGUAGES, language_text),
}


def _docstrings(module: ModuleType) -> Iterator[str]:
    """Yield docstrings, without the package's own name, which would tell it."""
    own = module.__name__.partition(".")[0]
    for name in sorted(dir(module)):
        if name.startswith("_"):
            continue
        try:
            found = getattr(module, name)
        except (ImportError, AttributeError):  # of what is not installed
            continue
        text = inspect.getdoc(found) if callable(found) else None
        yield (text or "").replace(own, "")


def _snippets(text: str, pieces: Any) -> Tensor:
    """Return the stretches of a text that follow each other, (N, 24)."""
    first, *ids, last = pieces.encode(text).ids
    inner = windows(ids, PIECES - 2)[:SNIPPETS]
    ends = torch.tensor([first, last]).expand(len(inner), 2)
    return torch.cat([ends[:, :1], inner, ends[:, 1:]], dim=1)
