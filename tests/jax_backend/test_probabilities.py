"""Networks that end in softmax or sigmoid, whose outputs are no logits."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array
from jax_backend.nets import draw

from rgo_jax import binary_score, softmax_score

LOGITS, LABELS = draw((8, 2)), jnp.asarray([0, 1] * 4)


def test_of_log_probabilities_the_gradients_are_those_of_the_hessian() -> None:
    def score(logits: Array) -> Array:
        return softmax_score(jax.nn.log_softmax(logits), LABELS).sum()

    p = jax.nn.softmax(LOGITS)
    expected = jnp.sqrt(p[:, 0] * p[:, 1])
    for found in (jax.grad(score)(LOGITS), jax.jit(jax.grad(score))(LOGITS)):
        assert jnp.allclose(jnp.abs(found), expected[:, None], rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_log_probabilities_are_known_in_half_precision(dtype: Any) -> None:
    logs = jax.nn.log_softmax(LOGITS)
    exact = softmax_score(logs, LABELS).sum()
    found = softmax_score(logs.astype(dtype), LABELS).sum()
    assert 0.8 < float(found / exact) < 1.25


def test_probabilities_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="outputs look like probabilities"):
        softmax_score(jax.nn.softmax(LOGITS), LABELS)
    with pytest.warns(UserWarning, match="outputs look like probabilities"):
        binary_score(jax.nn.sigmoid(LOGITS))


@pytest.mark.filterwarnings("error")
def test_logits_are_not_warned_of() -> None:
    softmax_score(LOGITS, LABELS)
    binary_score(LOGITS)
