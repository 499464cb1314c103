"""A part of the samples that stands for the whole."""

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
)
from torch_backend.nets import batch, mlp

from rgo_torch import RGO, second_moments


def batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    return [batch(size, seed) for seed, size in enumerate(sizes)]


def loader(**options: Any) -> DataLoader[Any]:
    x, y = batch(12)
    return DataLoader(TensorDataset(x, y), **{"batch_size": 4, **options})


def passed(model: nn.Module, given: Any, **options: Any) -> tuple[int, Any]:
    """Return how many samples the model saw, and their moments."""
    seen: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    moments = second_moments(model, given, **options)
    hook.remove()
    return sum(seen), moments


def assert_scaled(found: Any, part: Any, factor: float) -> None:
    for name, moment in part.items():
        torch.testing.assert_close(found[name].matrix, factor * moment.matrix)
        assert int(found[name].count) == int(moment.count)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 2}, {"per": "batch"}])
def test_the_pass_ends_with_the_batch_that_reaches_the_samples(options: Any) -> None:
    model, given = mlp(), batches(4, 4, 4)
    seen, found = passed(model, given, samples=6, **options)
    assert seen == 8
    assert_scaled(found, second_moments(model, given[:2], **options), 12 / 8)


def test_a_loader_tells_the_whole_by_what_it_draws() -> None:
    model, given = mlp(), loader(shuffle=True, drop_last=True, batch_size=5)
    torch.manual_seed(1)
    seen, found = passed(model, given, samples=5)
    assert seen == 5
    torch.manual_seed(1)
    first = next(iter(given))
    assert_scaled(found, second_moments(model, [first]), 12 / 5)


def test_a_part_given_alone_stands_for_the_whole_it_is_told() -> None:
    model, (pair, *_) = mlp(), batches(4)
    found = second_moments(model, iter([pair]), whole=20)
    assert_scaled(found, second_moments(model, [pair]), 5)


def test_a_batch_sampler_tells_the_whole_by_what_it_draws_itself() -> None:
    model = mlp()
    drawn = BatchSampler(SubsetRandomSampler(range(8)), 4, drop_last=False)
    x, y = batch(12)
    given = DataLoader(TensorDataset(x, y), batch_sampler=drawn)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen, found = passed(model, given, samples=4)
    assert seen == 4
    torch.manual_seed(1)
    assert_scaled(found, second_moments(model, [next(iter(given))]), 8 / 4)


def twice(items: Any) -> tuple[Tensor, Tensor]:
    """Return two views of each item, as augmentations make them."""
    x, y = (torch.stack(part) for part in zip(*items, strict=True))
    return torch.cat([x, -x]), torch.cat([y, y])


def test_the_share_is_of_items_where_a_batch_has_more_samples() -> None:
    model, given = mlp(), loader(shuffle=True, collate_fn=twice)
    torch.manual_seed(1)
    seen, found = passed(model, given, samples=12)  # two batches of four items
    assert seen == 16
    torch.manual_seed(1)
    part = [views for views, _ in zip(given, range(2), strict=False)]
    assert_scaled(found, second_moments(model, part), 12 / 8)
    seen, found = passed(model, given, samples=100)
    assert seen == 24


def test_what_a_task_is_ended_with_takes_the_place_of_what_is_bound() -> None:
    model, given = mlp(), batches(4, 4, 4)
    observe = partial(second_moments, samples=4)
    rgo = RGO(model, torch.optim.SGD(model.parameters(), lr=0.1), observe=observe)
    rgo.begin_task()
    counts = [
        int(rgo.observe(given, **asked)["0.weight"].count)
        for asked in ({}, {"samples": 8})
    ]
    assert counts == [4, 8]


def test_more_samples_than_there_are_observe_them_all() -> None:
    model, given = mlp(), batches(4, 3)
    found = second_moments(model, given, samples=100)
    assert_scaled(found, second_moments(model, given), 1)


def test_enough_are_two_for_each_input_of_the_widest_weight() -> None:
    model, given = nn.Linear(2, 4, bias=False), batches(*[4] * 5)
    given = [(x[:, :2], y) for x, y in given]
    seen, found = passed(model, given, samples="enough")
    assert seen == 4
    assert_scaled(found, second_moments(model, given[:1]), 20 / 4)
    # What is kept entry by entry needs no directions.
    words = nn.Sequential(nn.Embedding(100, 2), nn.Linear(2, 2))
    tokens = [(torch.arange(4), torch.zeros(4, dtype=torch.int64))] * 5
    assert passed(words, tokens, samples="enough")[0] == 4
    assert (
        passed(
            words, tokens, samples="enough", layout={"1.weight": None, "1.bias": None}
        )[0]
        == 20
    )
    with pytest.raises(ValueError, match="samples must be 'enough', got 'most'"):
        second_moments(model, given, samples="most")  # type: ignore[arg-type]


def test_the_end_of_a_task_takes_a_part() -> None:
    given = batches(4, 4, 4)
    ended = []
    for options in ({"samples": 4}, {"whole": 12}):
        model = mlp()
        rgo = RGO(model, torch.optim.SGD(model.parameters(), lr=0.1))
        rgo.begin_task()
        rgo.end_task(given if "samples" in options else given[:1], **options)
        ended.append(rgo.projector.projections["0.weight"])
    torch.testing.assert_close(*ended, rtol=0, atol=0)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from zip(*batch(12), strict=True)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (iter(batches(4)), "list_iterator"),
        ([{"x": torch.zeros(2, 3), "y": ["a", "b"]}], "list"),
        (loader(batch_sampler=[[0, 1]], batch_size=1), "DataLoader"),
        (DataLoader(Endless(), batch_size=4), "DataLoader"),
    ],
)
def test_what_does_not_tell_the_whole_needs_to_be_told(given: Any, kind: str) -> None:
    message = f"samples needs whole, .*: it cannot be read from a {kind} of these"
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), given, samples=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            TensorDataset(*batch(12)),
            r"the data set TensorDataset, whose entries are samples: pass DataLoader\("
            r"dataset, batch_size=\.\.\.\), with batch_size=None if they are batches",
        ),
        (
            {"train": batches(4)},
            r"a dict: of one batch pass a list, \[batch\], and of several loaders "
            "itertools.chain of them",
        ),
        (lambda: batches(4), "a function: call it, and pass what it returns"),
        (None, "a NoneType$"),
    ],
)
def test_what_holds_no_batches_is_refused(given: Any, message: str) -> None:
    model, (pair,) = mlp(), batches(4)
    rgo = RGO(model, torch.optim.SGD(model.parameters(), lr=0.1))
    rgo.begin_task()
    expected = "expected an iterable of batches, such as a DataLoader, got "
    with pytest.raises(TypeError, match=expected + message):
        rgo.end_task(given)
    assert rgo.current == 0
    rgo.end_task(iter([pair]))


class OfBatches(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from batches(4, 4)


@pytest.mark.parametrize(
    "given", [OfBatches(), DataLoader(OfBatches(), batch_size=None)]
)
def test_a_stream_of_batches_is_taken_as_it_is(given: Any) -> None:
    assert passed(mlp(), given)[0] == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be an integer >= 1, got 0"),
        ({"samples": 2.0}, r"samples must be an integer >= 1, got 2\.0"),
        ({"whole": 0}, "whole must be an integer >= 1, got 0"),
        ({"whole": 3}, "whole must be at least the 4 samples observed, .* got 3"),
    ],
)
def test_a_part_that_cannot_be_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), batches(4), **options)


def test_the_first_samples_of_a_loader_that_does_not_shuffle_are_warned_of() -> None:
    message = "samples=4 are the first of a loader that does not shuffle"
    x, y = batch(12)
    shares = DistributedSampler(
        TensorDataset(x, y), num_replicas=1, rank=0, shuffle=False
    )
    for given in (loader(), loader(sampler=range(12)), loader(sampler=shares)):
        with pytest.warns(UserWarning, match=message) as caught:
            second_moments(mlp(), given, samples=4)
        assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second_moments(mlp(), loader(), samples=12)  # it sees them all
        second_moments(mlp(), loader())
