"""The second derivatives of losses, by PyTorch, and the logits to take them at."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

CLASSES = 4
# Undecided, confident, and beyond what an exponential can hold.
LOGITS = arrays(
    np.float64,
    CLASSES,
    elements=st.floats(-4, 4) | st.floats(-40, 40) | st.sampled_from([-1e3, 1e3]),
)
LABELS = st.integers(0, CLASSES - 1)
MASKS = arrays(np.bool_, CLASSES).filter(np.any)


def hessian(loss: str, outputs: np.ndarray, *arguments: Any) -> np.ndarray:
    """Differentiate one of PyTorch's losses twice, in the outputs."""
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, loss)
    twice = torch.autograd.functional.hessian(
        lambda z: function(z, *arguments, reduction="sum"),
        torch.asarray(np.array(outputs)),
    )
    return twice.numpy()


def cross_entropy_hessian(logits: np.ndarray) -> np.ndarray:
    """Differentiate cross-entropy twice; the label makes no difference."""
    torch = pytest.importorskip("torch")
    return hessian("cross_entropy", logits, torch.asarray(0))


def masked_hessian(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Differentiate the cross-entropy of the classes in play; zero for the others."""
    expected = np.zeros((CLASSES, CLASSES))
    expected[np.ix_(mask, mask)] = cross_entropy_hessian(logits[mask])
    return expected


def probabilities(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - np.max(logits))
    return raised / np.sum(raised)
