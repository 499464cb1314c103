"""What is backpropagated from the logits, and what is refused."""

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch_backend import oracle
from torch_backend.nets import (
    CLASSES,
    batch,
    batches,
    mlp,
)
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import second_moments


@pytest.mark.parametrize("curvature", ["ground-truth", "exact"])
def test_a_mask_takes_the_other_classes_out_of_the_softmax(curvature: str) -> None:
    model = mlp().double()
    x, y = batch(6)
    data = [(x.double(), y % 2)]
    mask = torch.tensor([True, True, False, False])
    options = {"curvature": curvature, "reduce": "rms"}
    found = second_moments(model, data, mask=mask, **options)
    expected = oracle.moments(model, data, classes=[0, 1], **options)
    for name, moment in expected.items():
        assert_near(found[name].matrix, torch.from_numpy(moment))


@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize("curvature", ["ground-truth", "exact"])
def test_a_mask_for_each_sample_equals_a_mask_for_all(curvature: str, per: str) -> None:
    model, (x, y) = mlp().double(), batch(6)
    data = [(x.double(), y % 2)]
    mask = torch.tensor([True, True, False, False])
    options = {"curvature": curvature, "per": per, "reduce": "rms"}
    expected = second_moments(model, data, mask=mask, **options)
    found = second_moments(model, data, mask=mask.expand(6, -1), **options)
    for name, moment in expected.items():
        assert_near(found[name].matrix, moment.matrix)


class MaskedHead(nn.Module):
    """Sets the logits of the last two classes to minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x: Tensor) -> Tensor:
        masked = torch.tensor([False, False, True, True])
        return self.body(x).masked_fill(masked, -torch.inf)


@pytest.mark.parametrize("curvature", ["ground-truth", "exact"])
def test_logits_of_minus_infinity_count_as_masked(curvature: str) -> None:
    model = MaskedHead().double()
    x, y = batch(6)
    data = [(x.double(), y % 2)]
    options = {"curvature": curvature, "reduce": "rms"}
    found = second_moments(model, data, **options)
    expected = oracle.moments(model.body, data, classes=[0, 1], **options)
    for name, moment in expected.items():
        assert_near(found[f"body.{name}"].matrix, torch.from_numpy(moment))


def test_the_exact_root_cancels_in_the_mean_over_the_logits() -> None:
    data = batches()
    found = second_moments(mlp(), data, curvature="exact")
    squares = second_moments(mlp(), data, curvature="exact", reduce="rms")
    noise = torch.finfo(torch.float32).eps * squares["4.weight"].matrix.norm()
    assert found["4.weight"].matrix.norm() < noise
    assert found["2.weight"].matrix.norm() > noise


def test_squared_error_and_sigmoid_scores_follow_their_curvature() -> None:
    model, (x, _) = mlp().double(), batch(5)
    columns = range(CLASSES)

    def squared(model: nn.Module, x: Tensor) -> Tensor:
        outputs = model(x)
        root = rgo_core.squared_error_curvature(outputs.detach()).sqrt()
        return (root * outputs).T  # (k, b)

    def sigmoid(model: nn.Module, x: Tensor) -> Tensor:
        outputs = model(x)
        root = rgo_core.sigmoid_curvature(outputs.detach()).sqrt()
        return (root * outputs).T

    p = torch.sigmoid(model(x.double())).detach()
    for score, hessian in ((squared, torch.ones_like(p)), (sigmoid, p * (1 - p))):
        towards = torch.stack(
            [hessian.sqrt() * torch.eye(CLASSES)[column] for column in columns]
        )
        each = oracle.sample_gradients(model, x.double(), towards.numpy())
        found = second_moments(model, [x.double()], score=score)
        for name, gradients in each.items():
            expected = oracle.parameter_moment(gradients, "sample", "mean", 1)
            assert_near(found[name].matrix, torch.from_numpy(expected))


def test_a_score_of_one_row_counts_one_vector_a_sample() -> None:
    model, (x, _) = mlp(), batch(5)
    found = second_moments(model, [x], score=lambda model, x: model(x).sum(-1))
    assert {int(moment.count) for moment in found.values()} == {5}


def test_a_pass_in_inference_mode_is_refused() -> None:
    model, data = mlp(), batches()
    message = "the curvature pass needs gradients, and torch.inference_mode"
    with torch.inference_mode(), pytest.raises(RuntimeError, match=message):
        second_moments(model, data)
    expected = second_moments(model, data)
    with torch.no_grad():
        found = second_moments(model, data)
    assert torch.equal(found["0.weight"].matrix, expected["0.weight"].matrix)


@pytest.mark.parametrize("curvature", ["ground-truth", "exact"])
def test_labels_of_masked_classes_are_refused(curvature: str) -> None:
    mask = torch.tensor([False, True, True, True])
    data = [(batch()[0], torch.zeros(16, dtype=torch.int64))]
    message = re.escape("labels must be of classes in play, got masked [0]")
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), data, mask=mask, curvature=curvature)
    x, y = batch()
    with pytest.raises(ValueError, match="got masked"):
        second_moments(MaskedHead(), [(x, y % 2 + 2)], curvature=curvature)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda model, x: model(x).sum(), r"got \(\): the samples are along the last"),
        (lambda model, x: [1.0], "a score must be .* got a list"),
    ],
)
def test_a_score_that_is_no_row_of_numbers_is_refused(
    score: object, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        second_moments(mlp(), [batch()[0]], score=score)


@pytest.mark.parametrize("per", ["sample", "batch", "position"])
@pytest.mark.parametrize(
    ("score", "shape"),
    [
        (lambda model, x: model(x), r"\(16, 4\)"),  # (b, k)
        (lambda model, x: model(x)[:, :1], r"\(16, 1\)"),
        (lambda model, x: model(x).reshape(-1), r"\(64,\)"),
        (lambda model, x: model(x).T[None], r"\(1, 4, 16\)"),
    ],
)
def test_a_score_whose_last_axis_is_not_the_samples_is_refused(
    score: Callable, shape: str, per: str
) -> None:
    message = rf"expected scores of shape \(b,\) or \(k, b\) for b in \[16\] .* {shape}"
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), [batch()[0]], score=score, per=per)


def test_a_batch_that_is_not_of_tensors_tells_no_samples_and_is_taken() -> None:
    x = batch()[0]
    graphs = [type("Graph", (), {"x": x})()]
    found = second_moments(mlp(), graphs, score=lambda model, g: model(g.x)[:, 0])
    expected = second_moments(mlp(), [x], score=lambda model, x: model(x)[:, 0])
    assert torch.equal(found["0.weight"].matrix, expected["0.weight"].matrix)
    with pytest.raises(
        ValueError, match=r"expected scores of shape .*, got \(1, 4, 16"
    ):
        second_moments(mlp(), graphs, score=lambda model, g: model(g.x).T[None])


def listed(x: Tensor) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return samples and targets one by one, as torchvision's detectors take them."""
    return list(x[:, None]), [{"boxes": torch.zeros(each % 3, 4)} for each in range(16)]


# With how a score finds the samples in it.
LISTED = {
    "pair": (listed, lambda b: b[0]),
    "tuples": (lambda x: tuple(map(tuple, listed(x))), lambda b: b[0]),
    "names": (lambda x: {"images": listed(x)[0], "id": "a"}, lambda b: b["images"]),
    "mappings": (
        lambda x: [
            {"image": each, "boxes": torch.zeros(2, 4)} for each in listed(x)[0]
        ],
        lambda b: [sample["image"] for sample in b],
    ),
}


@pytest.mark.parametrize("form", LISTED)
def test_samples_that_a_batch_lists_one_by_one_are_counted(form: str) -> None:
    make, samples_of = LISTED[form]
    x = batch()[0]
    expected = second_moments(mlp(), [x], score=lambda model, x: model(x).T)

    def outputs(model: nn.Module, b: object) -> Tensor:
        return model(torch.cat(samples_of(b)))

    found = second_moments(mlp(), [make(x)], score=lambda model, b: outputs(model, b).T)
    assert torch.equal(found["0.weight"].matrix, expected["0.weight"].matrix)
    with pytest.raises(ValueError, match=r"16\] samples, got \(16, 4\)"):
        second_moments(mlp(), [make(x)], score=outputs)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: ([x, x, x, x], x[:, 0]),  # views of all samples, and labels
        lambda x: ([x, x, x, x], [x, x]),
        lambda x: [x, x, x, x],
        lambda x: ({"x": x}, {"x": x}, {"y": x}, {"y": x}),
    ],
)
def test_lists_of_anything_else_than_samples_tell_no_samples(make: Callable) -> None:
    x = batch()[0]
    message = r"for b in \[16\] samples, got \(16, 4\)"
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), [make(x)], score=lambda model, b: model(x))


def test_samples_along_a_later_axis_of_the_batch_are_refused_with_a_way_out() -> None:
    x = batch()[0]
    first = x.reshape(16, 3, 4).transpose(0, 1).contiguous()  # (times, samples, 4)

    def score(model: nn.Module, x: Tensor) -> Tensor:
        return model(x.transpose(0, 1).reshape(16, -1))[:, 0]

    message = (
        r"for b in \[3\] samples, got \(16,\): the samples are along the last axis. "
        "Where they are right, as where time comes first, one tensor of the batch must "
        "have the samples first: transpose it, and back inside of the score"
    )
    with pytest.raises(ValueError, match=message):
        second_moments(mlp(), [first], score=score)
    found = second_moments(
        mlp(), [first.transpose(0, 1)], score=lambda m, x: score(m, x.transpose(0, 1))
    )
    expected = second_moments(mlp(), [x], score=lambda model, x: model(x)[:, 0])
    assert torch.equal(found["0.weight"].matrix, expected["0.weight"].matrix)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probabilities_of_half_precision_are_formed_in_float32(
    dtype: torch.dtype,
) -> None:
    model = nn.Linear(4, 4, bias=False).to(dtype)
    with torch.no_grad():
        model.weight.copy_(torch.eye(4))
    generator = torch.Generator().manual_seed(0)
    # Inputs, and so logits, that half precision has.
    x, y = torch.randint(-16, 17, (64, 4), generator=generator) / 4, torch.arange(64)
    found = second_moments(model, [(x.to(dtype), y % 4)], reduce="rms")
    p = torch.softmax(x.double(), -1).gather(1, y[:, None] % 4)
    # What flows back through the model is rounded once, and nothing before.
    rounded = (p * (1 - p)).sqrt().to(dtype).double()
    vectors = x.double() * rounded / 2  # the root mean square over 4 outputs
    assert_near(found["weight"].matrix.float(), vectors.mT @ vectors)


class Output(NamedTuple):
    """What the models of transformers return, in short."""

    logits: Tensor
    others: None = None


def test_logits_among_other_things_are_found() -> None:
    model = mlp()
    expected = second_moments(model, batches())
    model.register_forward_hook(lambda module, args, output: Output(output))
    found = second_moments(model, batches())
    for name, moment in expected.items():
        assert torch.equal(found[name].matrix, moment.matrix)
