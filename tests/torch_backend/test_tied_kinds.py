"""A table that is tied to a head is observed in both of its uses, whatever looks it up.

The oracle is that of a model whose two uses are two parameters: what is kept is the sum
of both, each by itself.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_torch import second_moments

WORDS, WIDTH, SAMPLES = 9, 5, 6


class Scaled(nn.Embedding):
    """As Gemma's and BART's: a forward around the class's own."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * 4.0


class Normed(Scaled):
    """The forward of another class around it, and one more part."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__(words, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.norm(functional.embedding(ids, self.weight))


class Indexed(nn.Embedding):
    """Looks rows up in a way that no function of embeddings has."""

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight[ids] * 4.0


class Cast(nn.Embedding):
    """Looks rows up in something else than its weight."""

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight * 2.0)


class Bag(nn.EmbeddingBag):
    """Returns one row a sample, as positions."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids)[:, None]


class Table(nn.Module):
    """No embedding by its class."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(words, width))

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight)


class Capped(nn.Linear):
    """A head that is called again for its samples too."""

    def forward(self, x: Tensor) -> Tensor:
        return 3.0 * torch.tanh(super().forward(x) / 3.0)


class Net(nn.Module):
    """Words in, scores of words out."""

    def __init__(
        self, table: type[nn.Module], head: type[nn.Linear], *, tied: bool
    ) -> None:
        super().__init__()
        self.table, self.mix = table(WORDS, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = head(WIDTH, WORDS, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.mix(self.table(ids).mean(1))))


def score(model: nn.Module, ids: Tensor) -> Tensor:
    scores: Tensor = model(ids)[:, :3].sum(1)
    return scores


def make(
    table: type[nn.Module], head: type[nn.Linear] = nn.Linear
) -> tuple[Net, Net, Tensor]:
    """Return a tied model, the same one untied, and words."""
    torch.manual_seed(0)
    tied, apart = (Net(table, head, tied=t).double() for t in (True, False))
    torch.nn.init.normal_(tied.table.weight, std=0.3)
    apart.load_state_dict(tied.state_dict())
    return tied, apart, torch.randint(WORDS, (SAMPLES, 4))


def both_uses(apart: Net, ids: Tensor) -> Tensor:
    """Return the mean over words of the sum over samples and uses of g g^T."""
    total = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    for one in ids.split(1):
        weights = (apart.table.weight, apart.head.weight)
        for gradient in torch.autograd.grad(score(apart, one).sum(), weights):
            total += gradient.mT @ gradient / WORDS
    return total


def of_one(apart: Net, ids: Tensor) -> Tensor:
    """Return the same of the gradients of both uses together, as of one parameter."""
    total = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    for one in ids.split(1):
        weights = (apart.table.weight, apart.head.weight)
        first, second = torch.autograd.grad(score(apart, one).sum(), weights)
        total += (first + second).mT @ (first + second) / WORDS
    return total


def observed(model: nn.Module, ids: Tensor) -> Tensor:
    moments = second_moments(model, [ids], reduce="rms", score=score)
    matrix: Tensor = moments["table.weight"][0]
    return matrix


LOOKED_UP = (nn.Embedding, Scaled, Normed)  # whose vectors are those of lookups
CALLED_AGAIN = (Indexed, Bag, Table)


@pytest.mark.parametrize("table", [*LOOKED_UP, *CALLED_AGAIN])
@pytest.mark.parametrize("head", [nn.Linear, Capped])
def test_lookups_of_a_tied_table_count_with_its_head(
    table: type[nn.Module], head: type[nn.Linear]
) -> None:
    tied, apart, ids = make(table, head)
    # Two that are called again are of one kind: their gradients add up.
    is_one = table in CALLED_AGAIN and head is Capped
    expected = of_one(apart, ids) if is_one else both_uses(apart, ids)
    torch.testing.assert_close(observed(tied, ids), expected)


@pytest.mark.parametrize(("table", "head"), [(Table, nn.Linear), (Bag, Capped)])
def test_rows_that_were_not_looked_up_are_no_vectors(
    table: type[nn.Module], head: type[nn.Linear]
) -> None:
    tied, _, ids = make(table, head)
    found = second_moments(tied, [ids], reduce="rms", score=score)["table.weight"]
    scored = 3  # words, of which some may have been looked up as well
    assert int(found.count) <= ids.numel() + scored * SAMPLES < WORDS * SAMPLES


def test_a_lookup_in_something_else_is_found_and_called_again() -> None:
    tied, apart, ids = make(Cast)
    with pytest.warns(UserWarning, match="used without a call of the module"):
        moment = observed(tied, ids)
    torch.testing.assert_close(moment, of_one(apart, ids))  # of the whole model


@pytest.mark.parametrize("table", [Scaled, Normed])
def test_a_forward_around_a_lookup_is_not_called_again(
    table: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came back to the lookup is taken, and the table not held for each sample."""
    _, apart, ids = make(table)
    found = observed(apart, ids)
    total = torch.zeros(WORDS, dtype=torch.float64)
    for one in ids.split(1):
        (gradient,) = torch.autograd.grad(score(apart, one).sum(), apart.table.weight)
        total += gradient.square().mean(1)
    torch.testing.assert_close(found, total)
    calls = 0
    forward: Callable[..., Tensor] = table.forward

    def counted(self: nn.Module, ids: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return forward(self, ids)

    monkeypatch.setattr(table, "forward", counted)
    monkeypatch.setattr(counted, "__wrapped__", forward, raising=False)
    score(apart, ids)
    alone = calls
    observed(apart, ids)
    assert calls == 2 * alone
