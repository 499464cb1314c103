"""What a model computes of an encoded layer's weight itself is seen, and told."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.nets import (
    CLASSES,
    FEATURES,
    Batch,
    batch,
    batches,
    hooks_of,
    mlp,
    sgd,
)
from torch_backend.state_routes import ROUTES, all_states

from rgo_torch import RGO

# As other tests expect it.
quiet = pytest.mark.filterwarnings(
    "ignore:.*(without a call|read without)", "ignore:torch.distributed is disabled"
)

BOTH = "book: both called and read without a call.*they agree with unencoded="


class Uncalled(nn.Module):
    """Multiplies by a layer's weight, and never calls the layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.head = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.linear(x, self.inner.weight, self.inner.bias)
        return self.head(torch.relu(hidden))


class Both(Uncalled):
    """Calls the layer as well."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.head(self.inner(x))


class Quantized(nn.Module):
    """Looks up the entry of a codebook that is nearest to each feature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inside = nn.Linear(FEATURES, 6)
        self.book, self.head = nn.Embedding(9, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        nearest = torch.cdist(self.inside(x), self.book.weight).argmin(1)
        return self.head(self.book(nearest))


class Reading(nn.Module):
    """Calls a layer, and does something with its weight, without a gradient."""

    def __init__(self, read: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = read
        self.book, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.read(x, self.book.weight)
        return self.head(torch.relu(self.book(x)))


def observed(model: nn.Module, **options: Any) -> RGO:
    rgo = RGO(model, sgd(model), seed=7, **options)
    for task in range(2):
        rgo.begin_task(task)
        rgo.end_task(batches(seed=task))
    return rgo


def told_of(model: nn.Module, data: list[Batch] | None = None) -> list[str]:
    """Return the warnings of one curvature pass."""
    rgo = RGO(model, sgd(model), seed=7)
    rgo.begin_task(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rgo.end_task(data or batches(2))
    return [str(each.message) for each in caught]


@pytest.mark.parametrize("task", [0, 1])
def test_a_weight_that_no_call_uses_stays_in_its_order_in_a_merged_copy(
    task: int,
) -> None:
    model, (x, _) = Uncalled(), batch()
    with pytest.warns(UserWarning, match="what is computed there is not encoded"):
        rgo = observed(model)
    with rgo.task(task):
        assert torch.equal(rgo.merge_for(task)(x), model(x))


def test_a_layer_that_is_never_called_is_not_said_to_be_encoded() -> None:
    model = Uncalled()
    rgo = RGO(model, sgd(model))
    rgo.begin_task(0)
    assert "full      yes" in rgo.summary()
    with pytest.warns(UserWarning, match="used without a call"):
        rgo.end_task(batches())
    assert "yes" not in rgo.summary()


@pytest.mark.parametrize("kind", [Both, Quantized])
def test_a_weight_that_is_used_both_ways_is_not_merged(kind: type[nn.Module]) -> None:
    model = kind()
    with pytest.warns(UserWarning, match="used without a call|both called and read"):
        rgo = observed(model)
    name = "inner" if kind is Both else "book"
    message = f"to be used by calls alone.*in its own order: {name}; name them in unenc"
    with pytest.raises(ValueError, match=message):
        rgo.merge_for(0)


def test_a_codebook_that_is_compared_and_looked_up_is_warned_of() -> None:
    (told,) = told_of(Quantized())
    assert re.match(BOTH, told)


def test_a_codebook_that_is_not_encoded_is_merged_without_a_word() -> None:
    model, (x, _) = Quantized(), batch()
    rgo = observed(model, unencoded=["book", "head", "inside"])
    assert "yes" not in rgo.summary()
    with rgo.task(1):
        assert torch.equal(rgo.merge_for(1)(x), model(x))


READS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "transposed": lambda x, w: w.T,
    "product": lambda x, w: x @ w,
    "detached": lambda x, w: w.detach() * 2,
    "data": lambda x, w: w.data.detach()[0],
    "in a list": lambda x, w: torch.cat([x, w]),
    "by keyword": lambda x, w: torch.cdist(x, x2=w),
    "among several": lambda x, w: torch.max(w, dim=1),
    "written elsewhere": lambda x, w: torch.empty(FEATURES, FEATURES).copy_(w),
    "as complex numbers": lambda x, w: w.to(torch.complex64),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_that_has_no_gradient_is_seen(read: Any) -> None:
    told = told_of(Reading(read))
    assert [each.split(":")[0] for each in told] == ["book"]


FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "dtype": lambda x, w: (w.dtype, w.device, w.shape, w.size(0), w.requires_grad),
    "to the same": lambda x, w: w.to(x.dtype).dtype,
    "to another": lambda x, w: (x.double().to(w), x.double().type_as(w)),
    "as large": lambda x, w: x[0].expand_as(w),
    "new": lambda x, w: (w.new_zeros(3), w.data.new(3), torch.zeros_like(w)),
    "norm": lambda x, w: w.norm(),
    "indices": lambda x, w: w.argmax(1),
}


@pytest.mark.parametrize("read", FORMS.values(), ids=FORMS)
def test_a_look_at_the_form_of_a_weight_is_no_read(read: Any) -> None:
    model, (x, _) = Reading(read), batch()
    rgo = observed(model)
    with rgo.task(1):
        torch.testing.assert_close(rgo.merge_for(1)(x), model(x))


def test_what_a_hook_of_the_layer_reads_belongs_to_its_call() -> None:
    model = mlp()

    def hook(module: nn.Linear, _: Any) -> None:
        functional.normalize(module.weight)

    model[0].register_forward_pre_hook(hook)
    rgo = RGO(model, sgd(model), seed=7)
    rgo.begin_task(0)
    before = len(list(hooks_of(model)))
    rgo.end_task(batches())
    assert len(list(hooks_of(model))) == before


class TiedByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.mix = nn.Embedding(7, 5), nn.Linear(5, 5)
        self.last = nn.Linear(7, 7)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = torch.tanh(self.mix(self.words(ids).mean(1)))
        return self.last(functional.linear(hidden, self.words.weight))


def test_what_another_warning_names_is_told_once() -> None:
    model = TiedByHand()
    data = [(torch.randint(7, (6, 3)), torch.randint(7, (6,)))]
    (told,) = told_of(model, data)
    assert "observed by calling the whole model again" in told


class Unwatched(nn.Module):
    """Refuses to run where functions are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, x: Tensor) -> Tensor:
        if torch.overrides.has_torch_function((x,)):
            raise RuntimeError("not while somebody is looking")
        return self.inner(x)


def test_a_model_that_cannot_be_watched_is_observed_all_the_same() -> None:
    model = Unwatched()
    rgo = observed(model)
    assert set(rgo.projector.projections) == {n for n, _ in model.named_parameters()}


def restored(path: Path, route: str, model: nn.Module, rgo: RGO) -> RGO:
    """Return an RGO of another model that loaded both states."""
    torch.manual_seed(1)
    again = type(model)()
    optimizer = sgd(again)
    fresh = RGO(again, optimizer, seed=7)
    save, load = ROUTES[route]
    save(path / route, all_states(model, optimizer, rgo))
    states = load(path / route, all_states(again, optimizer, fresh))
    again.load_state_dict(states["model"])
    fresh.load_state_dict(states["rgo"])
    return fresh


class Plain(Uncalled):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.inner(x)))


@quiet
@pytest.mark.parametrize("kind", [Uncalled, Plain])
@pytest.mark.parametrize("route", [*ROUTES])
def test_a_state_that_was_only_loaded_is_merged_as_before(
    tmp_path: Path, route: str, kind: type[nn.Module]
) -> None:
    model, (x, _) = kind(), batch()
    rgo = observed(model)
    fresh = restored(tmp_path, route, model, rgo)
    assert fresh.summary() == rgo.summary()
    with rgo.task(1):
        torch.testing.assert_close(fresh.merge_for(1)(x), model(x))


@quiet
@pytest.mark.parametrize("kind", [Both, Quantized])
def test_a_state_that_was_only_loaded_tells_of_both_uses(
    tmp_path: Path, kind: type[nn.Module]
) -> None:
    model = kind()
    rgo = observed(model)
    fresh = restored(tmp_path, "torch", model, rgo)
    with pytest.raises(ValueError, match="to be used by calls alone"):
        fresh.merge_for(0)
    # And so does the state that follows.
    assert fresh.state_dict()["reads"] == rgo.state_dict()["reads"]


@quiet
def test_a_state_of_before_tells_nothing_of_reads() -> None:
    model, again = Uncalled(), Uncalled()
    state = observed(model).state_dict()
    del state["reads"]
    fresh = RGO(again, sgd(again), seed=7)
    fresh.load_state_dict(state)
    assert fresh.state_dict()["reads"] == {"alone": [], "both": []}


def test_reads_of_modules_that_are_not_there_say_nothing() -> None:
    rgo = observed(mlp())
    rgo.load_state_dict(rgo.state_dict() | {"reads": {"alone": ["x"], "both": []}})
    assert rgo.state_dict()["reads"] == {"alone": [], "both": []}


@pytest.mark.parametrize("reads", [["inner"], {"alone": [0], "both": []}])
def test_reads_that_are_no_names_are_refused(reads: Any) -> None:
    model = mlp()
    rgo = observed(model)
    message = r"expected in 'reads' two lists of names, 'alone' and 'both', got"
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(rgo.state_dict() | {"reads": reads})
