"""A layer called several times in a forward pass, on other samples each time."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_backend.tolerance import assert_near

from rgo_torch import second_moments

B, OTHERS, N = 5, 3, 6
ENCODERS = {
    "linear": lambda: nn.Sequential(nn.Linear(N, 7), nn.Tanh(), nn.Linear(7, 4)),
    "of positions": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.Linear(3, 4), nn.Tanh(), nn.Flatten()
    ),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, N)), nn.Conv1d(1, 4, 3), nn.Tanh(), nn.Flatten()
    ),
    "groups": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2, groups=2), nn.Tanh(), nn.Flatten()
    ),
    "normalization": lambda: nn.Sequential(nn.Linear(N, 8), nn.LayerNorm(8)),
}


class Retrieval(nn.Module):
    """Compares queries with the passages of each, by one encoder: logits (b, k)."""

    def __init__(self, encoder: nn.Module, *, calls: int) -> None:
        super().__init__()
        self.encoder, self.calls = encoder, calls

    def forward(self, queries: Tensor, passages: Tensor) -> Tensor:
        flat = passages.flatten(0, 1)
        if self.calls == 1:
            both = self.encoder(torch.cat([queries, flat]))
            of_queries, of_passages = both.split([len(queries), len(flat)])
        else:
            of_queries, of_passages = self.encoder(queries), self.encoder(flat)
        of_passages = of_passages.reshape(*passages.shape[:2], -1)
        return (of_queries[:, None] * of_passages).sum(-1)


def of_first(model: nn.Module, batch: Any) -> Tensor:
    logits = model(*batch)
    p = logits.detach().softmax(-1)[:, 0]
    return (p * (1 - p)).sqrt() * logits[:, 0]


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(B, 1 + OTHERS, N, generator=generator, dtype=torch.float64)
    return draw[:, 0], draw[:, 1:]


@pytest.mark.filterwarnings("ignore:.*samples are not along the first axis")
@pytest.mark.parametrize("per", ["sample", "position", "batch", None])
@pytest.mark.parametrize("reduce", ["mean", "rms"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_calls_on_other_samples_are_observed_as_one_call_of_all(
    encoder: str, reduce: Any, per: Any
) -> None:
    torch.manual_seed(0)
    shared = ENCODERS[encoder]().double()
    found, expected = (
        second_moments(
            Retrieval(shared, calls=calls),
            [data()],
            score=of_first,
            per=per,
            reduce=reduce,
        )
        for calls in (2, 1)
    )
    for name, moment in expected.items():
        assert_near(found[name][0], moment[0], amplification=16)
        assert int(found[name].count) == int(moment.count)


def test_one_vector_a_sample_is_asked_for_in_vain_and_that_is_warned_of() -> None:
    model = Retrieval(nn.Linear(N, 4).double(), calls=2)
    with pytest.warns(UserWarning, match="which has 15 entries where the batch has 5"):
        second_moments(model, [data()], score=of_first)
