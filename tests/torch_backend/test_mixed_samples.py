"""Layers that several samples reach at once are told of, whatever has a vector."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rgo_core.vectors import Per
from rgo_torch import RGO, second_moments

SAMPLES, CLASSES, POSITIONS = 8, 3, 5
TOLD = "a sample's score reaches what other samples reach too"


class Relative(nn.Module):
    """Positions that all samples have, through a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Linear(3, 4), nn.Linear(2, 4)
        self.head = nn.Linear(4, CLASSES)
        self.register_buffer("grid", torch.randn(1, POSITIONS, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(x) + self.places(self.grid)).mean(1))


class Prototypes(nn.Module):
    """Classes by what is told of them, as many as there are."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body, self.classes = nn.Linear(3, 4), nn.Linear(2, 4)
        self.register_buffer("told", torch.randn(classes, 2))

    def forward(self, x: Tensor) -> Tensor:
        of_classes = torch.tanh(self.classes(self.told))
        return torch.tanh(self.body(x)).mean(1) @ of_classes.mT


class Compared(nn.Module):
    """Takes the mean over the batch away, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.tanh(self.body(x)).mean(1)
        return self.head(features - features.mean(0))


class TimeFirst(nn.Module):
    """Its layer takes in positions first; with as many samples."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Linear(3, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(x.transpose(0, 1))).mean(0))


class Joined(nn.Module):
    """Its layer takes in all positions of all samples as one sequence, or by rows."""

    def __init__(self, *, rows: bool) -> None:
        super().__init__()
        self.rows = rows
        self.words, self.head = nn.Linear(3, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        found = self.words(flat if self.rows else flat[None]).reshape(*x.shape[:2], 4)
        return self.head(torch.tanh(found).mean(1))


def task(positions: int = POSITIONS, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(SAMPLES, positions, 3), torch.arange(SAMPLES) % classes


def end_task(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """End a task as with AdamW's defaults, where layers choose what has a vector."""
    rgo = RGO(model, torch.optim.AdamW(model.parameters()), encode=False)
    rgo.begin_task(0)
    rgo.end_task([batch])


def test_positions_of_all_samples_are_told() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=f"^places: {TOLD}"):
        end_task(Relative(), task())


@pytest.mark.parametrize("classes", [SAMPLES - 3, SAMPLES, SAMPLES + 1])
def test_prototypes_are_told_however_many_they_are(classes: int) -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=f"^classes: {TOLD}"):
        end_task(Prototypes(classes), task(classes=3))


def test_prototypes_as_many_as_samples_are_told_where_samples_count() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=f"^classes: {TOLD}"):
        second_moments(Prototypes(SAMPLES), [task(classes=3)], per="sample")


@pytest.mark.parametrize("per", [None, "sample"])
def test_samples_that_are_compared_are_told(per: Per | None) -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=f"^body: {TOLD}"):
        second_moments(Compared(), [task()], per=per)


def test_time_first_is_told_where_it_is_as_long_as_the_batch() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=f"^words: {TOLD}"):
        second_moments(TimeFirst(), [task(SAMPLES)], per="sample")


@pytest.mark.parametrize(
    ("model", "per"),
    [
        (lambda: Prototypes(SAMPLES), "position"),  # says that it is meant
        (Compared, "batch"),
        (TimeFirst, None),  # each row is one sample's
        (lambda: Joined(rows=True), None),
        (lambda: Joined(rows=False), None),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, CLASSES)), "sample"),
        (
            lambda: nn.Sequential(nn.Conv1d(8, 8, 2), nn.Flatten(), nn.Linear(16, 3)),
            None,
        ),
    ],
)
def test_what_one_sample_reaches_is_not_told(
    model: Callable[[], nn.Module], per: Per | None
) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second_moments(model(), [task(SAMPLES)], per=per)


def test_one_sample_alone_is_not_told() -> None:
    torch.manual_seed(0)
    x, y = task()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second_moments(Relative(), [(x[:1], y[:1])], per=None)
