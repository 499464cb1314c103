"""Where a library is missing its module says what to install."""

import subprocess
import sys

import pytest

ADVICE = {
    "huggingface": "needs transformers: pip install 'transformers[torch]'",
    "lightning_callback": "needs Lightning: pip install lightning",
    "accelerated": "needs accelerate: pip install accelerate",
    "avalanche_plugin": "needs Avalanche: pip install avalanche-lib",
}
LIBRARIES = (
    "accelerate",
    "avalanche",
    "lightning",
    "pytorch_lightning",
    "transformers",
)


@pytest.mark.parametrize("module", ADVICE)
def test_a_module_without_its_library_names_what_to_install(module: str) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({LIBRARIES}))\n"
        f"import rgo_torch.integrations.{module}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"ImportError: rgo_torch.integrations.{module} " in done.stderr
    assert ADVICE[module] in done.stderr
