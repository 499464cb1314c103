"""A stream of recorded speech: vowels of nine speakers, which come with sktime."""

import importlib.util
from pathlib import Path

import torch

from rgo_bench.zoo.streams.digits import split
from rgo_bench.zoo.streams.tasks import Samples, Task

SPEAKERS = 9
COEFFICIENTS = 12
FRAMES = 29  # of the longest utterance


def speakers(seed: int) -> list[Task]:
    """Return tasks of telling which of three speakers says a vowel.

    Each task has three other speakers, who share three outputs. Utterances are twelve
    coefficients of a linear prediction of the recorded sound, frame by frame (Kudo,
    Toyama and Shimbo, 1999): signals (N, 12, 29), zero after their end.
    """
    train, test = map(_read, ("TRAIN", "TEST"))
    centre, scale = train.x.mean((0, 2)), train.x.std((0, 2))
    parts = (
        part._replace(x=(part.x - centre[:, None]) / scale[:, None])
        for part in (train, test)
    )
    return split(Task(*parts), SPEAKERS, seed)


def _read(part: str) -> Samples:
    lines = _folder().joinpath(f"JapaneseVowels_{part}.ts").read_text().splitlines()
    utterances = lines[lines.index("@data") + 1 :]
    signals = torch.zeros(len(utterances), COEFFICIENTS, FRAMES)
    labels = torch.empty(len(utterances), dtype=torch.int64)
    for i, utterance in enumerate(utterances):
        *channels, speaker = utterance.split(":")
        for channel, text in enumerate(channels):
            values = torch.tensor([float(value) for value in text.split(",")])
            signals[i, channel, : len(values)] = values
        labels[i] = int(speaker) - 1
    return Samples(signals, labels)


def _folder() -> Path:
    found = importlib.util.find_spec("sktime")  # not imported: it takes seconds
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "speakers: expected sktime, whose recordings these are; "
            "pip install 'rgo[zoo]'"
        )
    return Path(found.origin).parent / "datasets" / "data" / "JapaneseVowels"
