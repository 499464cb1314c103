"""Streams of the text that comes with Python: its own modules, and its topics."""

import importlib.util
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from rgo_bench.streams.draws import task_generator
from rgo_bench.zoo.streams.tasks import TASKS, Task, divided, told_apart

# Modules that every Python from 3.11 on has as one file of more than 50 kB.
MODULES: Final = (
    "argparse",
    "configparser",
    "difflib",
    "doctest",
    "imaplib",
    "inspect",
    "mailbox",
    "optparse",
    "pickle",
    "pydoc",
    "tarfile",
    "turtle",
)
CLASSES: Final = len(MODULES) // TASKS
WORDS, VOCABULARY = 32, 1000
SNIPPETS = 500  # of a module
BYTES, SYMBOLS = 32, 98
WINDOWS = 2400  # of a domain
TEST_EVERY = 6
DOMAINS: Final = ("Python", "English", "C")

Tokenize = Callable[[str], list[int]]


def module_snippets(seed: int, tokenize: Tokenize | None = None) -> list[Task]:
    """Return tasks of telling which module of Python's a snippet of code is from.

    Each task has four other modules, which share four outputs. A snippet is 32 words
    or signs that follow each other, and no two snippets overlap: numbers (N, 32) below
    1000, which `tokenize` makes of a text, or `hashed_words` where None.
    """
    tokenize = hashed_words if tokenize is None else tokenize
    order = task_generator(seed, 0, "classes").permutation(len(MODULES))
    tasks = []
    for index in range(TASKS):
        own = order[CLASSES * index :][:CLASSES]
        numbers = (tokenize(module_text(MODULES[i])) for i in own)
        snippets = [windows(each, WORDS)[:SNIPPETS] for each in numbers]
        tasks.append(told_apart(snippets, every=TEST_EVERY))
    return tasks


def next_bytes(seed: int) -> list[Task]:
    """Return tasks of predicting the next byte: of Python, of English, of C.

    Python's modules, the topics of its help, the headers of NumPy; each in a cipher of
    its own, which puts one symbol in the place of another throughout. Without it the
    three have so much in common that little is forgotten. The seed draws the order of
    the three, which stretches of them are used, and the ciphers. Symbols (N, 32) are
    below 98, with the one that follows for each.
    """
    order = task_generator(seed, 0, "classes").permutation(TASKS)
    tasks = []
    for index, domain in enumerate(order):
        found = windows(symbols(domain_text(DOMAINS[domain])), BYTES + 1)
        draws = task_generator(seed, index, "samples")
        chosen = found[draws.permutation(len(found))[:WINDOWS]]
        cipher = task_generator(seed, index, "transform").permutation(SYMBOLS)
        written = torch.from_numpy(cipher)[chosen]
        tasks.append(divided(written[:, :-1], written[:, 1:], every=TEST_EVERY))
    return tasks


def hashed_words(text: str) -> list[int]:
    """Return a number from 1 to 999 for each word or sign of a text.

    Examples
    --------
    >>> hashed_words("self.x") == hashed_words("self . x")
    True
    """
    words = re.findall(r"\w+|[^\w\s]", text)
    return [1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in words]


def symbols(text: str) -> list[int]:
    """Return a number below 98 for each byte: printable ASCII, newline, tab, others.

    Examples
    --------
    >>> symbols(" ~é")
    [0, 94, 97, 97]
    """
    others = {10: 95, 9: 96}
    return [
        byte - 32 if 32 <= byte < 127 else others.get(byte, SYMBOLS - 1)
        for byte in text.encode()
    ]


def domain_text(domain: str) -> str:
    """Return the text of one of `DOMAINS`."""
    if domain == "Python":
        return "\n".join(map(module_text, MODULES))
    if domain == "English":
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in sorted(topics))
    headers = sorted(Path(np.get_include()).rglob("*.h"))
    return "\n".join(path.read_text("utf-8", "replace") for path in headers)


def module_text(name: str) -> str:
    """Return the source of a module of Python."""
    found = importlib.util.find_spec(name)
    origin = Path(str(found and found.origin))
    if origin.suffix != ".py" or not origin.is_file():
        raise FileNotFoundError(
            f"{name}: expected a Python with the source of its modules, got none"
        )
    return origin.read_text("utf-8")


def windows(numbers: Sequence[int], length: int) -> Tensor:
    """Return all stretches that follow each other, (N, length)."""
    count = len(numbers) // length
    return torch.tensor(numbers[: count * length]).reshape(count, length)
