from collections.abc import Callable
from importlib.util import find_spec
from itertools import combinations

import pytest
import torch

from rgo_bench.data import load_digits
from rgo_bench.zoo.streams import (
    IGNORED,
    Task,
    digits_on_photographs,
    module_snippets,
    next_bytes,
    permuted_digits,
    speakers,
    split_digits,
)
from rgo_bench.zoo.streams.digits import digits
from rgo_bench.zoo.streams.segmentation import INK
from rgo_bench.zoo.streams.speech import COEFFICIENTS, FRAMES
from rgo_bench.zoo.streams.standard_library import (
    SYMBOLS,
    VOCABULARY,
    domain_text,
    hashed_words,
    symbols,
)

Make = Callable[[int], list[Task]]
needs_recordings = pytest.mark.skipif(
    find_spec("sktime") is None, reason="the recordings come with sktime"
)
SPEAKERS = pytest.param(speakers, marks=needs_recordings)
STREAMS = [
    permuted_digits,
    split_digits,
    digits_on_photographs,
    module_snippets,
    next_bytes,
    SPEAKERS,
]


def rows(*tensors: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for tensor in tensors for row in tensor}


@pytest.mark.parametrize("make", STREAMS)
def test_a_seed_always_draws_the_same_stream(make: Make) -> None:
    for one, again in zip(make(3), make(3), strict=True):
        pairs = zip((*one.train, *one.test), (*again.train, *again.test), strict=True)
        assert all(torch.equal(part, same) for part, same in pairs)


@pytest.mark.parametrize("make", STREAMS)
def test_another_seed_draws_another_stream(make: Make) -> None:
    pairs = zip(make(0), make(1), strict=True)
    assert not all(
        torch.equal(one.train.x[:20], other.train.x[:20]) for one, other in pairs
    )


@pytest.mark.parametrize("make", STREAMS)
def test_the_tasks_of_a_stream_share_shapes_and_labels(make: Make) -> None:
    tasks = make(0)
    assert len(tasks) == 3
    assert len({part.x.shape[1:] for task in tasks for part in task}) == 1
    assert len({part.y.shape[1:] for task in tasks for part in task}) == 1
    if make is not next_bytes:
        assert len({int(task.train.y.max()) for task in tasks}) == 1


@pytest.mark.parametrize("make", STREAMS)
def test_no_test_sample_is_trained_on(make: Make) -> None:
    for task in make(0):
        shared = rows(task.train.x) & rows(task.test.x)
        # Code repeats itself: some stretches of two modules are the same.
        assert len(shared) <= 0.02 * len(task.test.x)


@pytest.mark.parametrize("make", [split_digits, module_snippets, SPEAKERS])
def test_tasks_of_other_classes_share_no_samples(make: Make) -> None:
    found = [rows(task.train.x) for task in make(0)]
    # Code repeats itself.
    assert sum(len(one & other) for one, other in combinations(found, 2)) <= 10


@pytest.mark.parametrize("make", STREAMS)
@pytest.mark.parametrize("seed", [-1, 0.5, True])
def test_a_seed_that_draws_nothing_is_refused(make: Make, seed: object) -> None:
    with pytest.raises(ValueError, match="seed: expected an integer of at least 0"):
        make(seed)  # type: ignore[arg-type]


def test_permuted_digits_are_the_same_pixels_in_another_order() -> None:
    train, test = digits()
    for task in permuted_digits(0):
        for part, plain in ((task.train, train), (task.test, test)):
            own, given = part.x.flatten(1), plain.x.flatten(1)
            assert torch.equal(own.sort().values, given.sort().values)
            assert torch.equal(part.y, plain.y)


def test_digits_are_scaled_by_the_training_images() -> None:
    train, _ = digits()
    torch.testing.assert_close(train.x.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.x.std(), torch.tensor(1.0))


def test_split_digits_are_nine_digits_in_all() -> None:
    tasks = split_digits(0)
    images = sum(len(part.x) for task in tasks for part in task)
    counts = torch.bincount(
        torch.cat([torch.from_numpy(y) for y in load_digits()[1::2]])
    )
    assert images in (1797 - counts).tolist()
    for task in tasks:
        for part in task:
            assert part.y.unique().tolist() == [0, 1, 2]


def test_only_ink_is_tested_and_all_pixels_are_learned() -> None:
    (task, *_) = digits_on_photographs(0)
    assert set(task.train.y.unique().tolist()) == {0, 1, 2, 3}
    assert set(task.test.y.unique().tolist()) == {IGNORED, 1, 2, 3}


def test_a_digit_on_a_photograph_has_one_label_where_it_is_bright() -> None:
    (task, *_) = digits_on_photographs(0)
    plain = split_digits(0)[0].train
    ink = (plain.x - plain.x.min()) / (plain.x.max() - plain.x.min()) > INK
    for labels, digit, bright in zip(
        task.train.y[:50], plain.y[:50], ink[:50], strict=True
    ):
        inked = labels[labels > 0]
        assert inked.unique().tolist() == [int(digit) + 1]
        assert len(inked) == int(bright.sum())


@needs_recordings
def test_speech_is_of_three_speakers_and_scaled() -> None:
    for task in speakers(0):
        assert task.train.x.shape == (90, COEFFICIENTS, FRAMES)
        assert task.test.y.unique().tolist() == [0, 1, 2]
    everyone = torch.cat([task.train.x for task in speakers(0)])
    assert float(everyone.mean().abs()) < 0.01


def test_the_recordings_are_named_where_they_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"sktime.*pip install 'rgo\[zoo\]'"):
        speakers(0)


def test_a_snippet_is_consecutive_words_of_its_module() -> None:
    words = hashed_words(domain_text("Python"))
    text = " ".join(map(str, words))
    (task, *_) = module_snippets(0)
    for snippet in task.test.x[::40].tolist():
        assert " ".join(map(str, snippet)) in text


def test_words_are_numbers_of_the_vocabulary() -> None:
    for task in module_snippets(0):
        assert 1 <= int(task.train.x.min()) <= int(task.train.x.max()) < VOCABULARY


def test_a_python_without_its_source_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = "expected a Python with the source of its modules"
    with pytest.raises(FileNotFoundError, match=message):
        module_snippets(0)


def test_the_next_byte_is_the_label() -> None:
    for task in next_bytes(0):
        assert torch.equal(task.train.x[:, 1:], task.train.y[:, :-1])
        assert int(task.train.x.max()) < SYMBOLS


def test_a_cipher_puts_one_symbol_in_the_place_of_another() -> None:
    text = torch.tensor(symbols(domain_text("English"))).bincount(minlength=SYMBOLS)
    counts = [
        task.train.x.flatten().bincount(minlength=SYMBOLS) for task in next_bytes(0)
    ]
    # A space, the commonest symbol of every text, is another one in every task.
    assert len({int(count.argmax()) for count in counts}) == 3
    assert int(text.argmax()) == 0


def test_domains_are_told_apart_by_their_text() -> None:
    assert "def " in domain_text("Python")
    assert "#define" in domain_text("C")
    assert "The following" in domain_text("English")


def test_bytes_beyond_printable_ascii_share_a_symbol() -> None:
    assert symbols("a\n\té") == [65, 95, 96, 97, 97]
