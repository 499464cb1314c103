"""A small adapted model with RGO attached to it."""

from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("peft")
pytest.importorskip("transformers")
from torch_backend.small_adapters import (
    adamw,
)

from rgo_torch import RGO

QUERY = "model.base_model.model.bert.encoder.layer.0.attention.self.query"


def attached(model: nn.Module, **options: Any) -> tuple[RGO, torch.optim.AdamW]:
    """Return RGO of a model, and its optimizer."""
    optimizer = adamw(model)
    return RGO(model, optimizer, **{"seed": 7} | options), optimizer
