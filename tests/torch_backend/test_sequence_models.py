"""Models of transformers that are neither attention nor convolution."""

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from rgo_torch import RGO, second_moments
from rgo_torch.observation.labels import label_score

transformers = pytest.importorskip("transformers")
WORDS, LENGTH = 20, 6
SIZES = {"vocab_size": WORDS, "hidden_size": 8, "num_hidden_layers": 2}


def language_model(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "mamba":
        config = transformers.MambaConfig(state_size=2, **SIZES)
        return transformers.MambaForCausalLM(config)
    config = transformers.RwkvConfig(context_length=LENGTH, **SIZES)
    return transformers.RwkvForCausalLM(config)


def score(model: nn.Module, ids: Tensor) -> Tensor:
    return label_score(model(ids).logits[:, :-1], ids[:, 1:])


def apart(kind: str) -> AbstractContextManager[object]:
    """Mamba takes the weights of its convolution and of another layer by hand."""
    if kind == "mamba":
        return pytest.warns(UserWarning, match=r"mixer.conv1d.weight.* without a call")
    return nullcontext()


@pytest.mark.parametrize("kind", ["mamba", "rwkv"])
def test_what_keeps_a_state_is_observed_without_its_cache(kind: str) -> None:
    model = language_model(kind)
    ids = torch.randint(WORDS, (4, LENGTH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rgo = RGO(model, optimizer, seed=0)
    rgo.begin_task(0)
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    with apart(kind):
        rgo.end_task([ids], score=score)
    assert rgo.projector.protected_share == 1
    assert set(rgo.projector.projections) == {n for n, _ in model.named_parameters()}
    assert model.config.use_cache  # as it was


@pytest.mark.parametrize("cached", [True, False])
def test_a_failing_pass_leaves_the_cache_as_it_was(cached: bool) -> None:
    model = language_model("mamba")
    model.config.use_cache = cached

    def failing(model: nn.Module, ids: Tensor) -> Tensor:
        assert not model.config.use_cache
        raise InterruptedError

    with pytest.raises(InterruptedError):
        second_moments(model, [torch.zeros(1, LENGTH, dtype=torch.long)], score=failing)
    assert model.config.use_cache is cached
