from collections.abc import Iterator

import pytest
from core.backends import BACKENDS, Backend, open_backend
from hypothesis import settings

# JAX compiles every shape anew, and the other namespaces have tried all cases.
CASES_OF_JAX = 8


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each array namespace in turn, with float64."""
    with open_backend(request.param) as opened:
        yield opened


@pytest.fixture(autouse=True)
def fewer_cases_of_jax(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Try fewer cases of a property on JAX, unless all are asked for."""
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    name = "_hypothesis_internal_use_settings"  # there is no public one
    chosen = getattr(request.function, name, None)
    if chosen is None or parameters.get("backend") != "jax":
        return
    if settings.get_current_profile_name() == "repeatable":
        cases = min(CASES_OF_JAX, chosen.max_examples)
        fewer = settings(chosen, max_examples=cases)
        monkeypatch.setattr(request.function, name, fewer)
