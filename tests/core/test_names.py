"""What names tell of parameters."""

import pytest

from rgo_core._names import may_multiply

TABLES = (
    *("pos_embed", "posEmbedding", "position_bias", "relative_position_bias_table"),
    *("class_token", "query_tokens", "mask_embedding", "token_embed", "gamma_1"),
    *("scale", "layer_scale_parameter", "offsets", "beta2", "A_log", "log_tau"),
)
MATRICES = (
    *("W1", "compose", "token_mix", "patch_embed", "patchEmbedding", "upscale"),
    *("logits", "stable", "embedder"),
)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_told_by_a_word_of_their_names(name: str) -> None:
    assert not may_multiply(name, (4, 3))


@pytest.mark.parametrize("name", MATRICES)
def test_a_part_of_a_word_tells_nothing(name: str) -> None:
    assert may_multiply(name, (4, 3))
    assert not may_multiply(name, (4, 1))
