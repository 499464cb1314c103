"""What RGO leaves as it is, and the overrides that say so."""

from collections.abc import Mapping
from typing import NamedTuple

from rgo_core import Axes

Overrides = Mapping[str, Axes | None]
ASKED = "left unprotected as asked"
FROZEN = "frozen beside adapters"


class Skipped(NamedTuple):
    """A parameter that RGO leaves as it is, and why."""

    name: str
    reason: str
