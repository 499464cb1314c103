"""Short names that tell the files of one data set from those of another."""

from collections.abc import Iterable, Mapping
from hashlib import file_digest, sha256
from pathlib import Path

DIGITS = 8


def content_fingerprint(files: Mapping[str, Path]) -> str:
    """Return eight characters that tell files of other content apart.

    Files go by their names in the data set; where one lies and what it is called there
    does not matter.
    """
    total = sha256()
    for name in sorted(files):
        with files[name].open("rb") as file:
            total.update(file_digest(file, "sha256").digest())
    return total.hexdigest()[:DIGITS]


def listing_fingerprint(files: Iterable[Path], *, times: bool) -> str:
    """Return eight characters that tell other lists of files apart, without reading.

    Of each, the name, the folder's name and the size count, and with `times` that of
    the last change too: it betrays an edit that keeps the size, and differs between
    copies on different machines.
    """
    total = sha256()
    for path in files:
        status = path.stat()
        changed = status.st_mtime_ns if times else 0
        line = f"{path.parent.name}/{path.name}\0{status.st_size}\0{changed}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:DIGITS]
