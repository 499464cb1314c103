"""What transformers' classes tell of where a model's labels are."""

from torch import nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from rgo_torch.modules.wrappers import original_model

CAUSAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
UNSHIFTED = frozenset(MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()) | frozenset(
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values()
)


def is_causal(model: nn.Module) -> bool:
    """Tell whether a model predicts each next token, by the names of its classes."""
    return bool(CAUSAL & _class_names(_behind_wrappers(model)))


def assumed_shift(model: nn.Module) -> tuple[bool, bool]:
    """Return `is_causal`, and whether the model is of a kind for which that is sure."""
    inner, causal = _behind_wrappers(model), is_causal(model)
    other = bool(UNSHIFTED & _class_names(inner)) or bool(
        getattr(getattr(inner, "config", None), "is_encoder_decoder", False)
    )
    return causal, causal != other


def _class_names(model: nn.Module) -> set[str]:
    return {kind.__name__ for kind in type(model).__mro__}


def _behind_wrappers(model: nn.Module) -> nn.Module:
    """Return what is behind adapters, `torch.compile` and the like, in any order."""
    model = original_model(model)
    base = getattr(model, "get_base_model", None)
    return original_model(base()) if callable(base) else model
