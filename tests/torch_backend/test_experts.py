"""A mixture whose experts lie in one tensor: a vector for each token and expert."""

import torch
from torch import Tensor, nn
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments

WIDTH, INSIDE, EXPERTS, TOKENS = 5, 7, 3, 12


class Experts(nn.Module):
    """Each token goes through all experts, weighted."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up_proj = nn.Parameter(torch.randn(EXPERTS, INSIDE, WIDTH).double())
        self.down_proj = nn.Parameter(torch.randn(EXPERTS, WIDTH, INSIDE).double())

    own = ("up_proj", "down_proj")

    def once(self, x: Tensor) -> Tensor:
        inside = torch.einsum("tn,emn->etm", x, self.up_proj).relu()
        return torch.einsum("etm,enm->tn", inside, self.down_proj)

    def forward(self, x: Tensor) -> Tensor:
        return self.once(x)


class Twice(Experts):
    """A token's gradients are sums of two outer products."""

    def forward(self, x: Tensor) -> Tensor:
        return self.once(self.once(x).tanh())


class Model(nn.Module):
    def __init__(self, experts: Experts) -> None:
        super().__init__()
        self.first, self.experts = nn.Linear(4, WIDTH).double(), experts
        self.head = nn.Linear(WIDTH, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.experts(self.first(x)))


def by_definition(model: Model, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Sum, over samples and outputs, the squares of gradients one sample at a time."""
    own = dict(model.experts.named_parameters())
    found = {
        name: torch.zeros(EXPERTS, p.shape[2], p.shape[2]) for name, p in own.items()
    }
    for sample, label in zip(x, y, strict=True):
        logits = model(sample[None])[0]
        p = logits.detach().softmax(-1)[label]
        score = (p * (1 - p)).sqrt() * logits[label]
        gradients = torch.autograd.grad(score, list(own.values()))
        for name, gradient in zip(own, gradients, strict=True):
            found[name] = found[name] + gradient.mT @ gradient / gradient.shape[1]
    return found


def check(experts: Experts) -> dict[str, int]:
    model = Model(experts)
    x, y = torch.randn(TOKENS, 4).double(), torch.randint(4, (TOKENS,))
    found = second_moments(model, [(x, y)], reduce="rms")
    for name, expected in by_definition(model, x, y).items():
        assert_near(found[f"experts.{name}"].matrix, expected)
    return {
        name: int(found[f"experts.{name}"].count) for name in ("up_proj", "down_proj")
    }


def test_a_token_has_one_vector_for_each_expert() -> None:
    assert check(Experts()) == {"up_proj": TOKENS, "down_proj": TOKENS}


def test_where_a_token_passes_twice_there_are_as_many_as_outputs() -> None:
    assert check(Twice()) == {"up_proj": TOKENS * INSIDE, "down_proj": TOKENS * WIDTH}
