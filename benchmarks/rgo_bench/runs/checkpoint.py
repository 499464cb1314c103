"""What a run that was cut off goes on from."""

import io
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from rgo_bench.records import replace_file


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors, numbers and texts, whole or not at all.

    Its SHA-256 stands before it: a damaged file may still load, with other numbers.
    """
    written = io.BytesIO()
    torch.save(dict(state), written)
    content = written.getbuffer()  # no copy: it is as large as the state
    replace_file(path, sha256(content).digest(), content)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a state that `write_checkpoint` wrote, its tensors onto a device."""
    written = path.read_bytes()
    size = sha256().digest_size
    digest, content = written[:size], written[size:]
    if digest != sha256(content).digest():
        raise ValueError(
            f"{path}: expected a checkpoint, got a broken file; start again with "
            "--force"
        )
    state: dict[str, Any] = torch.load(
        io.BytesIO(content), map_location=device, weights_only=True
    )
    return state
