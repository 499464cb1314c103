"""Where a library is missing its module says what to install."""

import subprocess
import sys

ADVICE = {
    "accelerated": "needs accelerate: pip install accelerate",
    "avalanche_plugin": "needs Avalanche: pip install avalanche-lib",
    "huggingface": "needs transformers: pip install 'transformers[torch]'",
    "lightning_callback": "needs Lightning: pip install lightning",
}
CODE = """
import importlib, sys

libraries = "accelerate avalanche lightning pytorch_lightning transformers"
sys.modules.update(dict.fromkeys(libraries.split()))
for module in sys.argv[1:]:
    try:
        importlib.import_module(f"rgo_torch.integrations.{module}")
    except ImportError as error:
        print(error)
"""


def test_a_module_without_its_library_names_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *ADVICE],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [
        f"rgo_torch.integrations.{module} {advice}" for module, advice in ADVICE.items()
    ]
    assert done.stdout.splitlines() == expected
