"""The page of each integration runs as it stands, and forgets nothing."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "integrations"
LIBRARIES = ["huggingface", "lightning", "accelerate", "avalanche"]
MODULES = {"huggingface": "transformers"}


def code_of(library: str) -> str:
    text = (PAGES / f"{library}.md").read_text()
    return "\n".join(
        re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    )


def test_every_page_is_run_here() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert pages == set(LIBRARIES)
    assert all(code_of(library) for library in LIBRARIES)


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_example_of_a_page_remembers_every_task(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(MODULES.get(library, library), exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code_of(library), names)
    assert len(names["accuracies"]) == 3
    assert min(names["accuracies"]) > 0.85
