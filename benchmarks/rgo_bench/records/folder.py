"""The folder that records are kept in."""

from pathlib import Path

from rgo_bench.records.atomic import replace_file
from rgo_bench.records.record import Record
from rgo_bench.records.text import parse_record, record_text


def record_path(
    out: Path, *, stream: str, method: str, variant: str, seed: int
) -> Path:
    """Return where a record is kept: ``OUT/STREAM/METHOD/[VARIANT/]seed-N.json``.

    Network and backend have no folder of their own: a run with another network or
    backend than the default states it in its variant.

    Parameters
    ----------
    out : Path
        The folder of all records.
    stream, method, variant : str
        As in `Record`; without a variant the path has one folder less.
    seed : int
        The seed.

    Returns
    -------
    Path
        The path; nothing is made.
    """
    return out / stream / method / variant / f"seed-{seed}.json"


def write_record(out: Path, record: Record) -> Path:
    """Write a record, whole or not at all, in the place of an earlier one.

    Parameters
    ----------
    out : Path
        The folder of all records.
    record : Record
        The record.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = record_path(
        out,
        stream=record.stream,
        method=record.method,
        variant=record.variant,
        seed=record.seed,
    )
    replace_file(path, record_text(record).encode())
    return path


def read_record(path: Path) -> Record:
    """Read one record.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Record
        The record.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a whole and good record; the message names it.
    """
    try:
        return parse_record(path.read_bytes().decode())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_records(out: Path) -> list[Record]:
    """Read every record in a folder and its subfolders.

    Parameters
    ----------
    out : Path
        The folder. Every file in it that is named ``seed-*.json`` is a record.

    Returns
    -------
    list of Record
        In the order of stream, method, variant, network, backend and seed.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    ValueError
        If a file is not a good record, or two files record the same run.
    """
    if not out.is_dir():
        raise NotADirectoryError(f"{out}: expected a folder of records, got none")
    found: dict[tuple[str | int, ...], tuple[Path, Record]] = {}
    for path in sorted(out.rglob("seed-*.json")):
        record = read_record(path)
        run = _identity(record)
        if run in found:
            raise ValueError(
                f"{path}: expected one record of each run, got the run that "
                f"{found[run][0]} records"
            )
        found[run] = path, record
    return sorted((record for _, record in found.values()), key=_identity)


def check_writable(out: Path) -> None:
    """Make the folder of records, and raise unless files can be written there.

    Parameters
    ----------
    out : Path
        The folder of all records.

    Raises
    ------
    OSError
        If the folder cannot be made or nothing can be written there.
    """
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


def _identity(record: Record) -> tuple[str | int, ...]:
    return (
        record.stream,
        record.method,
        record.variant,
        record.network,
        record.backend,
        record.seed,
    )
