"""Cut CIFAR-100 into parts small enough to travel, and join them again.

``shards.py pack FOLDER PARTS`` cuts the files of the binary version in a folder into
numbered parts; ``shards.py join PARTS FOLDER`` makes the files of all parts.
"""

import argparse
import hashlib
import json
from pathlib import Path

LIMIT = 47 * 10**6  # bytes of a part: under 48 MB
FILES = ("train.bin", "test.bin")
INDEX = "shards.json"


def pack(folder: Path, parts: Path, *, limit: int = LIMIT) -> list[Path]:
    """Cut the files of a folder into parts of at most `limit` bytes.

    Returns
    -------
    list of Path
        The parts, in order. Beside them stands an index, which each journey needs.
    """
    parts.mkdir(parents=True, exist_ok=True)
    found: list[Path] = []
    digests = {}
    for name in FILES:
        content = (folder / name).read_bytes()
        digests[name] = hashlib.sha256(content).hexdigest()
        for number, start in enumerate(range(0, len(content), limit)):
            path = parts / f"{name}.{number:03d}"
            path.write_bytes(content[start : start + limit])
            found.append(path)
    (parts / INDEX).write_text(json.dumps(digests, indent=2) + "\n")
    return found


def join(parts: Path, folder: Path) -> None:
    """Make the files of their parts.

    Raises
    ------
    ValueError
        If parts are missing or damaged: the files' SHA-256 would not be those packed.
    """
    digests = json.loads((parts / INDEX).read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for name, expected in digests.items():
        pieces = sorted(parts.glob(f"{name}.[0-9]*"))
        content = b"".join(piece.read_bytes() for piece in pieces)
        digest = hashlib.sha256(content).hexdigest()
        if digest != expected:
            raise ValueError(
                f"{parts}: expected all parts of {name}, SHA-256 {expected}, got "
                f"{len(pieces)} that make {digest}"
            )
        (folder / name).write_bytes(content)


def main() -> None:
    """Pack or join."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pack", "join"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    (pack if asked.what == "pack" else join)(asked.source, asked.target)


if __name__ == "__main__":
    main()
