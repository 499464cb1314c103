"""A score is tried before a training, and leaves no trace of it."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from integrations.own_loop import sgd
from integrations.test_continued import Tasks
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torch_backend.nets import batch, hooks_of, mlp, weights_of

from rgo_torch.integrations._continued import Continued
from rgo_torch.integrations._trial import try_score
from rgo_torch.observation.score import loss_score

SCORE = loss_score("cross-entropy", "ground-truth", None)


class Drawn(Dataset[Any]):
    """Draws its samples from every generator there is."""

    def __init__(self, labels: str = "int64") -> None:
        self.labels = getattr(torch, labels)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(12) * random.random() * np.random.rand()  # noqa: NPY002
        return noise.float(), torch.tensor(index % 3, dtype=self.labels)


class Stream(IterableDataset[Any]):
    """Has no samples by index."""

    def __iter__(self) -> Any:
        raise AssertionError("not to be read before the training")


class Begun(Continued):
    """Begins a task with a loader, as every library's module does."""

    def __init__(self, **given: Any) -> None:
        super().__init__({}, **given)

    def begin(self, model: nn.Module, loader: Any) -> None:
        self._begin(model, sgd(model.parameters()), loader)


def states() -> list[Any]:
    kept = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return [random.getstate(), kept["key"].tolist(), torch.get_rng_state().tolist()]


def test_a_trial_draws_nothing_and_changes_nothing() -> None:
    layers = nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
    model = nn.Sequential(mlp()[0], *layers)
    model[1].eval()
    before, weights = states(), weights_of(model)
    buffers = [b.clone() for b in model.buffers()]
    try_score(SCORE, model, DataLoader(Drawn(), batch_size=2, shuffle=True))
    assert states() == before
    assert all(map(torch.equal, buffers, model.buffers()))
    assert [m.training for m in model] == [True, False, True, True]
    assert all(torch.equal(weights_of(model)[n], weights[n]) for n in weights)


def test_what_the_end_would_refuse_is_refused_before_a_task_begins() -> None:
    model, tasks = mlp(), Begun()
    weights = weights_of(model)
    with pytest.raises(TypeError, match="integer") as found:
        tasks.begin(model, DataLoader(Drawn("float32"), batch_size=2))
    assert "Tried on two samples before the training" in found.value.__notes__[0]
    assert tasks.rgo.current is None
    assert all(torch.equal(weights_of(model)[n], weights[n]) for n in weights)
    tasks.begin(model, DataLoader(Drawn(), batch_size=2))
    assert tasks.rgo.current == 0
    tasks.detach()
    assert not list(hooks_of(model))


@pytest.mark.parametrize(
    "loader",
    [
        None,
        [batch()],
        DataLoader(Stream(), batch_size=2),
        DataLoader(TensorDataset(torch.zeros(0, 5), torch.zeros(0)), batch_size=2),
    ],
)
def test_what_has_no_samples_by_index_is_not_tried(loader: Any) -> None:
    def score(model: nn.Module, given: Any) -> Tensor:
        raise TypeError("tried")

    try_score(score, mlp(), loader)


def test_a_dataset_of_batches_is_tried_by_one_of_them() -> None:
    seen = []

    def score(model: nn.Module, given: Any) -> Tensor:
        seen.append(given)
        return torch.zeros(1)

    data = [batch(), batch(seed=1)]
    loader: DataLoader[Any] = DataLoader(data, batch_size=None)  # type: ignore[arg-type]
    try_score(score, mlp(), loader)
    assert len(seen) == 1
    assert all(map(torch.equal, seen[0], data[0]))


def test_what_the_model_raises_is_left_to_the_training() -> None:
    model = nn.Sequential(nn.Linear(3, 3))  # for other inputs than there are
    try_score(SCORE, model, DataLoader(Drawn(), batch_size=2))
    assert model.training


def test_a_score_of_one_s_own_is_not_tried() -> None:
    def score(model: nn.Module, given: Any) -> Tensor:
        raise TypeError("tried")

    tasks = Begun(score=score)
    tasks.begin(mlp(), DataLoader(Drawn(), batch_size=2))
    assert tasks.rgo.current == 0


def test_a_task_of_batches_alone_goes_on_as_ever() -> None:
    model, tasks = mlp(), Tasks()
    tasks.begin(model, sgd(model.parameters()))
    tasks.end([batch()])
    assert tasks.rgo.finished == 1
