import torch
from torch import Tensor, nn

from rgo_bench.zoo.loss import accuracy, loss, score
from rgo_bench.zoo.streams import IGNORED, Samples


class Given(nn.Module):
    """Returns its inputs as logits."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits


def logits_of(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, requires_grad=True)


def test_the_loss_is_the_mean_over_positions_that_count() -> None:
    logits, labels = logits_of(2, 3, 4), torch.tensor([[1, IGNORED, 0], [3, 2, 2]])
    terms = [
        -logits[i, p].log_softmax(-1)[labels[i, p]]
        for i in range(2)
        for p in range(3)
        if labels[i, p] != IGNORED
    ]
    torch.testing.assert_close(loss(logits, labels), torch.stack(terms).mean())


def test_accuracy_counts_the_positions_that_count_in_eval_mode() -> None:
    logits = torch.eye(3)[torch.tensor([[0, 1, 2], [2, 2, 2]])]
    labels = torch.tensor([[0, 1, IGNORED], [1, 2, 2]])
    model = Given().train()
    assert accuracy(model, Samples(logits, labels)) == 100 * 4 / 5
    assert model.training


def test_the_score_of_a_class_is_the_weighted_logit() -> None:
    logits, labels = logits_of(5, 4), torch.tensor([0, 1, 2, 3, 0])
    p = logits.detach().softmax(-1)[torch.arange(5), labels]
    expected = (p * (1 - p)).sqrt() * logits[torch.arange(5), labels]
    torch.testing.assert_close(score(Given(), (logits, labels)), expected)


def test_the_score_of_positions_has_their_weights_and_random_signs() -> None:
    logits, labels = logits_of(2, 50, 4), torch.zeros(2, 50, dtype=torch.int64)
    labels[0, :10] = IGNORED
    scores = score(Given(), (logits, labels))
    assert scores.shape == (2,)
    (cotangent,) = torch.autograd.grad(scores.sum(), logits)
    p = logits.detach().softmax(-1)[..., 0]
    weights = (p * (1 - p)).sqrt() * (labels != IGNORED)
    torch.testing.assert_close(cotangent[..., 0].abs(), weights)
    assert not cotangent[..., 1:].any()
    signs = cotangent[..., 0].sign()
    assert {-1.0, 1.0} <= set(signs.flatten().tolist())
    assert torch.equal(score(Given(), (logits, labels)), scores)
