"""What several files of tests watch."""

from typing import Any

import pytest


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """List what the layer of `NAME` sends to its weight projected."""
    from torch_backend.factors import NAME

    from rgo_torch.projecting.projected_forward import ProjectedForward

    found: list[Any] = []
    form = ProjectedForward.weight_gradient

    def watched(self: ProjectedForward, *factors: Any) -> Any:
        gradient = form(self, *factors)
        if self.layer.name == NAME.removesuffix(".weight") and self.sent.parts:
            found.append(gradient)
        return gradient

    monkeypatch.setattr(ProjectedForward, "weight_gradient", watched)
    return found
