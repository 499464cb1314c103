"""The folder that records are kept in."""

from operator import attrgetter
from pathlib import Path
from typing import Any

from rgo_bench.atomic import replace_file
from rgo_bench.records.record import Record
from rgo_bench.records.text import parse_record, record_text

_IDENTITY = attrgetter("stream", "method", "variant", "network", "backend", "seed")


def record_path(out: Path, run: Any) -> Path:
    """Return where a record is kept: ``OUT/STREAM/METHOD/[VARIANT/]seed-N.json``.

    The run is a record, or anything else with these four attributes. Without a variant
    there is one folder less. Network and backend have no folder of their own: a run
    with another than the default states it in its variant.
    """
    path: Path = out / run.stream / run.method / run.variant / f"seed-{run.seed}.json"
    return path


def write_record(out: Path, record: Record) -> Path:
    """Write a record, whole or not at all, in the place of an earlier one.

    Returns its file.
    """
    path = record_path(out, record)
    replace_file(path, record_text(record).encode())
    return path


def read_record(path: Path) -> Record:
    """Read one record; a ValueError names the file that is not a good one."""
    try:
        return parse_record(path.read_bytes().decode())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_records(out: Path) -> list[Record]:
    """Read every record (``seed-*.json``) in a folder and its subfolders.

    They come in the order of stream, method, variant, network, backend and seed. Two
    records of the same run are refused.
    """
    if not out.is_dir():
        raise NotADirectoryError(f"{out}: expected a folder of records, got none")
    found: dict[tuple[Any, ...], tuple[Path, Record]] = {}
    for path in sorted(out.rglob("seed-*.json")):
        record = read_record(path)
        run = _IDENTITY(record)
        if run in found:
            raise ValueError(
                f"{path}: expected one record of each run, got the run that "
                f"{found[run][0]} records"
            )
        found[run] = path, record
    return sorted((record for _, record in found.values()), key=_IDENTITY)


def check_writable(out: Path) -> None:
    """Make the folder of records, and raise unless files can be written there."""
    probe = out / ".writable"
    try:
        replace_file(probe, b"")
        # Another run that starts now may have removed it already.
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            f"{out}: expected a folder that records can be written to, got: "
            f"{error.strerror}"
        ) from error
