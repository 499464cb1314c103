"""Where labels belong is found out from the loss of the first batch, and kept."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from integrations.language_models import (
    Mine,
    Unknown,
    batch,
    bert,
    expected_score,
    gpt,
    llama,
    t5,
)
from torch import Tensor
from torch.nn import functional
from torch_backend.nets import assert_same
from torch_backend.tolerance import assert_near

from rgo_torch.integrations._alignment import shift_by_loss
from rgo_torch.integrations.huggingface import cross_entropy_score

# The libraries' own, but not what is said where nothing tells of an alignment.
pytestmark = pytest.mark.filterwarnings("ignore", "error:.*logits are taken")


def smoothed(loss: Tensor) -> Tensor:
    return 0.9 * loss + 0.1


@pytest.mark.parametrize("shift", [False, True])
def test_what_is_said_is_done_whatever_the_loss(shift: bool) -> None:
    logits, labels = Unknown()(**batch())["logits"], batch()["labels"]
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    found = cross_entropy_score(shift=shift)(Unknown(smoothed), batch())
    assert_near(found, expected_score(logits, labels))


def test_the_first_batch_decides() -> None:
    # In the second both alignments have the same loss, which would be warned of.
    alike = {name: torch.ones_like(x) for name, x in batch().items()}
    score, model = cross_entropy_score(), Unknown()
    score(model, batch())
    expected = cross_entropy_score(shift=True)(model, alike)
    assert_near(score(model, alike), expected)


def test_a_batch_that_does_not_fit_decides_nothing() -> None:
    score, model, long = cross_entropy_score(), Unknown(lambda loss: loss), batch()
    model.register_forward_hook(lambda *of: {**of[-1], "logits": of[-1]["logits"][:2]})
    with pytest.raises(ValueError, match="labels must have shape"):
        score(model, long)
    whole = Unknown()
    expected = cross_entropy_score(shift=True)(whole, long)
    assert_near(score(whole, long), expected)


UNTOLD: dict[str, tuple[Callable[[Any], Any], dict[str, Tensor]]] = {
    "smoothed": (smoothed, batch()),
    "a sum": (lambda loss: 3.5 * loss, batch()),
    "one for each": (lambda loss: loss.expand(4), batch()),
    "none": (lambda loss: None, batch()),
    "one position": (lambda loss: loss, batch(length=1)),
    "all alike": (lambda loss: loss, {n: 0 * x for n, x in batch().items()}),
    "nothing counts": (
        lambda loss: loss,
        {n: -100 + 0 * x if n == "labels" else x for n, x in batch().items()},
    ),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_what_no_loss_tells_is_assumed_with_one_warning(name: str) -> None:
    change, given = UNTOLD[name]
    score, model = cross_entropy_score(), Unknown(change)
    expected = cross_entropy_score(shift=False)(model, given)
    message = (
        r"^Unknown: logits .* own position, .*\(shift=False\) .* shift=True if not"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        found = score(model, given)
    assert caught[0].filename == __file__
    assert_near(found, expected)
    score(model, batch())  # without a warning


@pytest.mark.parametrize("name", UNTOLD)
def test_what_no_loss_tells_is_known_by_the_class(name: str) -> None:
    change, given = UNTOLD[name]
    models = llama(Mine), bert("BertForMaskedLM"), t5()
    for model, shift in zip(models, (True, False, False), strict=True):
        model.register_forward_hook(lambda *of: changed(of[-1], change))
        expected = cross_entropy_score(shift=shift)(model, given)
        assert_near(cross_entropy_score()(model, given), expected)


def changed(output: Any, change: Callable[[Any], Any]) -> Any:
    return {"loss": change(output.loss), "logits": output.logits}


@pytest.mark.parametrize("training", [False, True])
def test_looking_leaves_everything_as_it_was(training: bool) -> None:
    found = []
    for shift in (None, True):
        model = gpt("GPT2DoubleHeadsModel").train(training)  # with dropout
        before = deepcopy(model.state_dict())
        scores = cross_entropy_score(shift=shift)(model, batch())
        found.append((scores, torch.get_rng_state()))
        assert_same(model.state_dict(), before)
        assert all(p.grad is None for p in model.parameters())
    assert_same(found[0], found[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("own", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 2), (2, 3, 4), (64, 128)])
def test_a_loss_is_recognized_up_to_its_rounding(
    dtype: torch.dtype, own: torch.dtype, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(*shape, 9, generator=generator, dtype=torch.float64)
    labels = torch.randint(9, shape, generator=generator)
    following = labels.roll(-1, -1)
    # After training, what is learned is likelier than what is not.
    learned = logits + 8 * functional.one_hot(following, 9)
    pairs = (learned, following), (learned[..., :-1, :], labels[..., 1:])
    for shift, (z, y) in enumerate(pairs):
        z = z.to(dtype).to(own)
        loss = functional.cross_entropy(z.flatten(0, -2), y.flatten())
        given = (labels if shift else following).to(torch.int32)
        assert shift_by_loss(learned.to(dtype), given, loss) is bool(shift)
