from collections.abc import Iterator

import pytest
from core.backends import BACKENDS, Backend, open_backend


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each array namespace in turn, with float64."""
    with open_backend(request.param) as opened:
        yield opened
