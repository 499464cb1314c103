"""What a task trains and its score does not reach is told."""

import copy
import warnings
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rgo_torch
from rgo_torch.modules.values import _sums

pytestmark = pytest.mark.filterwarnings("ignore:the weight decay of SGD:UserWarning")
Batch = tuple[Tensor, Tensor, Tensor]
NOTHING = "no parameter changed in this task, and an optimizer of others stepped"
MESSAGE = "trained in this task, but no score depends on them"
OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam(p, 1e-2),
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2),
}


class ActorCritic(nn.Module):
    """A body with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.actor, self.critic = nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.body(x))
        return self.actor(h), self.critic(h)[:, 0]


def actors(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(batch[0])[0]
    chosen: Tensor = logits.gather(1, batch[1][:, None])[:, 0]
    return chosen


def both(model: nn.Module, batch: Batch) -> Tensor:
    return torch.stack([actors(model, batch), model(batch[0])[1]])


def data() -> list[Batch]:
    x = torch.randn(3, 5, 6)
    return list(zip(x, torch.randint(3, (3, 5)), torch.randn(3, 5), strict=True))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, of: list[Batch]) -> None:
    for x, y, v in of:
        optimizer.zero_grad()
        logits, values = model(x)
        loss = functional.cross_entropy(logits, y) + functional.mse_loss(values, v)
        loss.backward()
        optimizer.step()


def warned(act: Callable[[], object], message: str = MESSAGE) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    return [str(each.message) for each in found if message in str(each.message)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_head_that_the_score_leaves_out_is_named(optimizer: str) -> None:
    model = ActorCritic()
    stepped = OPTIMIZERS[optimizer](model.parameters())
    rgo = rgo_torch.RGO(model, stepped, unencoded=["actor", "critic"])
    for score, names in (
        (actors, ["critic.weight, critic.bias: "]),
        (both, []),
        (actors, ["critic.weight, critic.bias: "]),
    ):
        rgo.begin_task()
        batches = data()
        train(model, stepped, batches)
        told = warned(lambda of=batches, by=score: rgo.end_task(of, score=by))
        assert [each[: each.index("trained")] for each in told] == names


def test_the_summary_tells_what_no_task_has_observed() -> None:
    model = ActorCritic()
    stepped = OPTIMIZERS["adam"](model.parameters())
    rgo = rgo_torch.RGO(model, stepped, unencoded=["actor", "critic"])
    line = "not observed yet, by no score of an ended task: critic.weight, critic.bias"
    assert "not observed yet" not in rgo.summary()
    rgo.begin_task()
    rgo.end_task(data(), score=actors)
    assert line in rgo.summary().splitlines()
    rgo.begin_task()
    rgo.end_task(data(), score=both)
    assert "not observed yet" not in rgo.summary()


class Heads(nn.Module):
    """One head a task, over a body with a normalisation and a frozen twin."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(8, 3) for _ in range(2))
        self.target = nn.Linear(6, 8).requires_grad_(False)
        self.task = 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.heads[self.task](self.body(x))
        return logits


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_idle_heads_and_frozen_copies_are_no_alarm(optimizer: str) -> None:
    model = Heads()
    stepped = OPTIMIZERS[optimizer](model.parameters())
    rgo = rgo_torch.RGO(model, stepped, unencoded=["heads.0", "heads.1"])
    for model.task in range(2):
        rgo.begin_task()
        batches = [(x, y) for x, y, _ in data()]
        for x, y in batches:
            stepped.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            stepped.step()
            model.target.load_state_dict(model.body[0].state_dict())
        assert warned(lambda of=batches: rgo.end_task(of)) == []


def test_a_model_that_is_cast_within_a_task_is_no_alarm() -> None:
    model = Heads()
    stepped = OPTIMIZERS["sgd"](model.parameters())
    rgo = rgo_torch.RGO(model, stepped, unencoded=["heads.0", "heads.1"])
    rgo.begin_task()
    model.bfloat16().double()  # which rounds idle heads, and is no training
    batches = [(x.double(), y) for x, y, _ in data()]
    assert warned(lambda: rgo.end_task(batches)) == []


def test_weights_set_before_a_state_was_loaded_are_no_alarm() -> None:
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer, rgo_torch.RGO]:
        model = ActorCritic()
        stepped = OPTIMIZERS["sgd"](model.parameters())
        options = {"unencoded": ["actor", "critic"]}
        return model, stepped, rgo_torch.RGO(model, stepped, **options)

    model, stepped, rgo = fresh()
    rgo.begin_task()
    train(model, stepped, data())
    rgo.end_task(data(), score=both)
    rgo.begin_task()
    again, _, gone_on = fresh()
    gone_on.begin_task()  # what it watches is of another model
    gone_on.load_state_dict(rgo.state_dict())
    again.load_state_dict(model.state_dict())
    assert warned(lambda: gone_on.end_task(data(), score=actors)) == []


def test_a_task_begun_again_is_watched_from_its_first_beginning() -> None:
    model = ActorCritic()
    stepped = OPTIMIZERS["sgd"](model.parameters())
    rgo = rgo_torch.RGO(model, stepped, unencoded=["actor", "critic"])
    rgo.begin_task(0)
    train(model, stepped, data())
    rgo.begin_task(0)
    (told,) = warned(lambda: rgo.end_task(data(), score=actors))
    assert told.startswith("critic.weight, critic.bias: trained in this task")


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.complex64, torch.float64]
)
def test_sums_tell_entries_that_change_places(dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, -2.0, 0.5]).to(dtype)
    other = torch.tensor([1.5, -2.0, 0.5]).to(dtype)
    # With the same sum as the first.
    moved = torch.tensor([0.0, -2.0, 1.5]).to(dtype)
    assert torch.equal(_sums(values), _sums(values.clone()))
    assert not torch.equal(_sums(values), _sums(other))
    assert not torch.equal(_sums(values), _sums(moved))


def test_moments_that_other_workers_keep_are_no_alarm() -> None:
    model = ActorCritic()
    stepped = OPTIMIZERS["sgd"](model.parameters())
    rgo = rgo_torch.RGO(model, stepped, unencoded=["actor", "critic"])
    rgo.begin_task()
    train(model, stepped, data())
    moments = rgo.observe(data(), score=both)
    mine = {name: moments.pop(name) for name in ("body.weight", "critic.weight")}
    rgo.projector.owned = frozenset({*mine, "critic.bias"})  # as a worker of several
    (told,) = warned(lambda: rgo.consolidate(mine))
    assert told.startswith("critic.bias: trained in this task")


def test_what_is_lost_is_told_where_a_run_goes_on_within_a_task() -> None:
    models = [ActorCritic(), ActorCritic()]
    first, second = (
        rgo_torch.RGO(m, torch.optim.SGD(m.parameters(), 0.05)) for m in models
    )
    first.begin_task(0)
    second.load_state_dict(first.state_dict())
    models[1].load_state_dict(models[0].state_dict())
    second.begin_task(0)  # as a loop over the tasks that are left does
    train(models[1], torch.optim.SGD(models[1].parameters(), 0.05), data())
    found = warned(lambda: second.end_task(data(), score=actors))
    assert any(MESSAGE in each for each in found)


def test_large_parameters_are_summed_in_pieces(monkeypatch) -> None:
    values = torch.randn(7, 5, dtype=torch.float64)
    whole = _sums(values)
    monkeypatch.setattr("rgo_torch.modules.values.PIECE", 4)
    torch.testing.assert_close(_sums(values), whole)
    assert _sums(torch.zeros(0)).tolist() == [0, 0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_copy_that_is_trained_in_place_of_the_model_is_told(optimizer: str) -> None:
    model = ActorCritic()
    own = OPTIMIZERS[optimizer](model.parameters())
    rgo = rgo_torch.RGO(model, own, unencoded=["actor", "critic"])

    def end() -> None:
        rgo.end_task(data(), score=both)

    rgo.begin_task(0)
    train(model, own, data())
    assert not warned(end, NOTHING)
    best = copy.deepcopy(model)
    rgo.begin_task(1)
    train(best, OPTIMIZERS[optimizer](best.parameters()), data())
    assert len(warned(end, NOTHING)) == 1
    rgo.begin_task(2)  # which is never trained, nor anything else
    assert not warned(end, NOTHING)
    rgo.begin_task(3)
    train(model, own, data())
    train(best, OPTIMIZERS[optimizer](best.parameters()), data())
    assert not warned(end, NOTHING)
