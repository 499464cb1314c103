"""What has a name that a plugin may add to."""

from typing import TypeVar

Entry = TypeVar("Entry")


def add_entry(kind: str, entries: dict[str, Entry], name: str, entry: Entry) -> None:
    """Add an entry by a name that is new; raise ValueError where it is not."""
    if name in entries:
        raise ValueError(f"{kind}: expected a new name, got {name!r}, which exists")
    entries[name] = entry
