"""Batches of pairs that fit no loss, and which loss or score does."""

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import CLASSES, batch, batches, mlp
from torch_backend.tolerance import assert_near

from rgo_torch import label_score, second_moments

BAD_BATCHES = {
    r"a batch must be a pair .* got Tensor; of one pair pass a list, \[\(x, y\)\]; "
    "pass score= for": batch()[0],
    "a batch must be a pair .* got dict; pass score= for": {"x": 1, "y": 2},
    r"got dict; pass score=cross_entropy_score\(curvature=rgo": {"labels": 1},
    r"a batch must be a pair .* got tuple of \['Tensor'\];": (batch()[0],),
    r"a batch must be a pair .* got tuple of \['ndarray', 'Tensor'\];": (
        batch()[0].numpy(),
        batch()[1],
    ),
    "labels must be integers, got dtype torch.float32: for regression pass loss="
    "'squared-error', for a target of 0 or 1 per output loss='binary', and for "
    r"probabilities as labels, as of mixup, score=.*batch\[1\].argmax": (
        batch()[0],
        batch()[1].float(),
    ),
}


@pytest.mark.parametrize("message", BAD_BATCHES)
def test_a_batch_that_is_no_pair_of_inputs_and_labels_is_refused(message: str) -> None:
    with pytest.raises(TypeError, match=message):
        second_moments(mlp(), [BAD_BATCHES[message]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((16,), 4), "labels must lie in 0..3, .* got 4..4"),
        (
            torch.full((16,), -100),
            "labels must lie in 0..3, .* got -100..-100: what is ignored, -100, needs "
            "score=.*rgo_torch.label_score",
        ),
        (
            torch.eye(4, dtype=torch.int64).repeat(4, 1),
            r"shape \(16,\) .* got \(16, 4\): of a label 0 or 1 for each output pass "
            "loss='binary'",
        ),
        (torch.zeros(3, dtype=torch.int64), r"labels must have shape \(16,\)"),
    ],
)
def test_labels_that_are_not_classes_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), [(batch()[0], labels)])


def test_one_logit_for_two_classes_is_told_of_its_loss() -> None:
    message = (
        r"labels must lie in 0\.\.0, .* got 0\.\.1: of one logit for two classes pass "
        r"loss='binary', with targets of the logits' shape \(16, 1\)"
    )
    with pytest.raises(ValueError, match=message):
        second_moments(nn.Linear(12, 1), [(batch()[0], torch.arange(16) % 2)])


def test_a_sample_that_comes_without_a_batch_is_refused() -> None:
    x, y = batch()
    remedy = r"pass batches, as of a DataLoader, or x\[None\] and y\[None\] of each"
    message = (
        rf"expected logits \(b, c\) of a batch, got \(4,\) of a sample .*: {remedy}"
    )
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), [(x[0], y[0])])
    message = (
        r"loss='squared-error' expects outputs \(b, c\) or \(b,\) of a batch, got "
        rf"\(4,\) for inputs \(12,\), as of one sample: {remedy}"
    )
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), [(x[0], x[0, :4])], loss="squared-error")
    one = nn.Sequential(nn.Linear(12, 1))
    one.register_forward_hook(lambda module, args, output: output[0])
    message = (
        r"loss='binary' expects outputs .* of a batch, got \(\) for inputs \(12,\)"
    )
    with pytest.raises(ValueError, match=message):
        second_moments(one, [(x[0], torch.tensor(1.0))], loss="binary")


def test_labels_of_positions_are_told_of_their_score() -> None:
    x, y = torch.randn(6, 5, 3).double(), torch.arange(30).reshape(6, 5) % 4
    tagger, pixels = nn.Linear(3, 4).double(), nn.Conv1d(3, 4, 1).double()
    message = r"logits of 3 axes, \(6, 5, 4\), need score=, for their labels are of pos"
    with pytest.raises(ValueError, match=message):
        second_moments(tagger, [(x, y)])
    message = (
        r"labels must have shape \(6, 4\) .* got \(6, 5\): where the classes are along "
        r"the second axis, .*label_score\(model\(batch\[0\]\)\.movedim\(1, -1\), batch"
    )
    with pytest.raises(ValueError, match=message):
        second_moments(pixels, [(x.mT, y)])
    with torch.no_grad():
        pixels.weight.copy_(tagger.weight[..., None])
        pixels.bias.copy_(tagger.bias)

    def of_pixels(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return label_score(model(batch[0]).movedim(1, -1), batch[1])

    def of_tokens(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return label_score(model(batch[0]), batch[1])

    of_rows = second_moments(tagger, [(x.flatten(0, 1), y.flatten())], reduce="rms")
    options = {"per": "position", "reduce": "rms"}
    for model, data, score in (
        (tagger, (x, y), of_tokens),
        (pixels, (x.mT, y), of_pixels),
    ):
        found = second_moments(model, [data], score=score, **options)
        for name, moment in of_rows.items():
            assert_near(found[name].matrix, moment.matrix)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True] * 4, TypeError, "mask must be a tensor of bool, got list"),
        (torch.ones(4), TypeError, "mask must be an array of bool, got dtype"),
        (torch.ones(3) > 0, ValueError, "mask must have the 4 classes"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    mask: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        second_moments(mlp(), batches(), mask=mask)


def test_a_model_that_returns_more_than_logits_is_refused() -> None:
    model = nn.Sequential(nn.Linear(12, CLASSES))
    model.register_forward_hook(lambda module, args, output: (output, None))
    message = "must return a tensor of logits, got tuple; pass score="
    with pytest.raises(TypeError, match=message):
        second_moments(model, batches())
