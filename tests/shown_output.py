"""Pages that show what their code prints: run it, and compare."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<shown>.*?)^```)?", re.S | re.M
)
NUMBER = r"-?\d+\.?\d*"
# Of a hundred: rounding decides single samples, on other processors in other ways.
NEAR = 4.0


def run_page(name: str) -> dict[str, Any]:
    """Run the Python of a page and return its names; what it shows must come out.

    Words must be the same, numbers near.
    """
    names: dict[str, Any] = {"__name__": name}
    for block in BLOCK.finditer((ROOT / name).read_text()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block["code"], names)
        assert_near(printed.getvalue(), block["shown"] or "")
    return names


def assert_near(printed: str, shown: str) -> None:
    """Compare what was printed with what is shown."""
    assert spaced(re.sub(NUMBER, "#", printed)) == spaced(re.sub(NUMBER, "#", shown))
    pairs = zip(re.findall(NUMBER, printed), re.findall(NUMBER, shown), strict=True)
    assert all(abs(float(a) - float(b)) <= NEAR for a, b in pairs), (printed, shown)


def spaced(text: str) -> list[list[str]]:
    """Return the words of each line."""
    return [line.split() for line in text.strip().splitlines()]
