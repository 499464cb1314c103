"""RGO's state in the checkpoints of transformers' Trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


def state_file(args: Any, state: Any) -> Path:
    """Return where RGO's state is in the checkpoint of the step that was taken last."""
    folder = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
    return Path(args.output_dir) / folder / "rgo.pt"


def write_state(rgo_state: Mapping[str, Any], args: Any, state: Any) -> None:
    """Write RGO's state into a checkpoint, if it is there.

    In a search for hyper-parameters it is elsewhere, and where few are kept it may be
    gone already.
    """
    if (file := state_file(args, state)).parent.is_dir():
        torch.save(dict(rgo_state), file)
