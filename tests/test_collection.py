"""What holds of the suite itself."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_a_file_of_tests_that_cannot_be_imported_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    broken = tmp_path / "test_broken.py"
    broken.write_text("import not_there\n\n\ndef test_nothing() -> None:\n    pass\n")
    asked = ["--import-mode=importlib", "--doctest-modules", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *asked, "--doctest-ignore-import-errors", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stdout  # interrupted, for it was not collected
    assert "test_broken.py: could not be imported" in ended.stdout
