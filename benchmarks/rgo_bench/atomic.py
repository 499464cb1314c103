"""Files that are either whole or not there."""

import json
import os
from pathlib import Path


def replace_file(path: Path, *content: bytes | memoryview) -> None:
    """Write a file so that a reader or a crash sees the old content or the new.

    The content, part after part, goes to a temporary file in the same folder, which
    takes the place of the file only when it is on disk. Folders that are missing are
    made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object, *, indent: int = 1) -> None:
    """Write a file of JSON as `replace_file` does."""
    replace_file(path, (json.dumps(content, indent=indent) + "\n").encode())
