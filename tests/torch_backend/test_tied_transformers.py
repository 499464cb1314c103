"""Tied weights of transformers: scaled words, and a matrix that lies the other way."""

import pytest
import torch
from torch import Tensor, nn

from rgo_torch import Axes, register_layout, second_moments
from rgo_torch.layers import kinds

transformers = pytest.importorskip("transformers")
WORDS, WIDTH = 32, 8
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4}
SIZES = {"vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": 16}


def last(model: nn.Module, ids: Tensor) -> Tensor:
    scores: Tensor = model(ids).logits[:, -1, :5].sum(-1)
    return scores


def test_gemma_s_scaled_words_count_beside_its_head() -> None:
    torch.manual_seed(0)
    config = transformers.GemmaConfig(
        num_hidden_layers=1, initializer_range=0.3, **SIZES, **ATTENTION
    )
    model = transformers.GemmaForCausalLM(config).double()
    words, name = model.get_input_embeddings(), "model.embed_tokens.weight"
    assert words.weight is model.lm_head.weight
    ids = torch.randint(4, WORDS, (3, 7))
    whole = second_moments(model, [ids], reduce="rms", score=last)[name].matrix
    # Without what reaches the lookup: the head's part alone.
    handle = words.register_forward_hook(lambda _, __, output: output.detach())
    head = second_moments(model, [ids], reduce="rms", score=last)[name].matrix
    handle.remove()
    lookups = torch.zeros_like(head)
    for one in ids.split(1):
        given: list[Tensor] = []
        handle = words.register_forward_hook(lambda _, __, out, g=given: g.append(out))
        scored = last(model, one).sum()
        handle.remove()
        (gradient,) = torch.autograd.grad(scored, given)
        rows = torch.zeros(WORDS, WIDTH, dtype=torch.float64)
        rows.index_add_(0, one[0], gradient[0] * words.embed_scale.double())
        lookups += rows.mT @ rows / WORDS
    torch.testing.assert_close(whole, head + lookups)


class Turned(nn.Module):
    """A matrix that two kinds of layers multiply by, each along its own axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.second = transformers.pytorch_utils.Conv1D(WIDTH, WIDTH)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def summed(model: nn.Module, x: Tensor) -> Tensor:
    scores: Tensor = model(x).sum(1)
    return scores


def test_what_multiplies_along_another_axis_is_told_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model, x = Turned().double(), torch.randn(4, WIDTH, dtype=torch.float64)
    with pytest.warns(UserWarning, match="used by layers of several kinds, some of"):
        second_moments(model, [x], reduce="rms", score=summed)
    kind = transformers.pytorch_utils.Conv1D
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))
    register_layout(kind, {"weight": Axes(inputs=(0,), outputs=(1,))})
    matrix = second_moments(model, [x], reduce="rms", score=summed)["first.weight"][0]
    apart = Turned().double()
    apart.second.weight = nn.Parameter(model.second.weight.detach().clone())
    apart.load_state_dict(model.state_dict())
    total = torch.zeros_like(matrix)
    for one in x.split(1):
        weights = (apart.first.weight, apart.second.weight)
        for gradient in torch.autograd.grad(summed(apart, one).sum(), weights):
            total += gradient.mT @ gradient / WIDTH
    torch.testing.assert_close(matrix, total)
