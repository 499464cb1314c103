from collections.abc import Iterator

import pytest
from core.backends import Backend, open_backend


@pytest.fixture(params=("numpy", "torch", "jax"), scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """NumPy, PyTorch and JAX in turn, with float64."""
    with open_backend(request.param) as opened:
        yield opened
