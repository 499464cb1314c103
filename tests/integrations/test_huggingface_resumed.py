"""The Trainer goes on with what RGO learned, in another process or mid-task."""

from pathlib import Path
from typing import Any

import pytest
import torch
from integrations.own_loop import TASKS
from torch_backend.nets import assert_same, weights_of

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from integrations.trainers import Classifier, adamw, trainer  # noqa: E402

from rgo_torch.integrations.huggingface import RGOCallback  # noqa: E402

# The libraries' own.
pytestmark = pytest.mark.filterwarnings("ignore")
EVERY_STEP = {"save_strategy": "steps", "save_steps": 1}


def test_training_goes_on_in_another_process(tmp_path: Path) -> None:
    model, tasks = Classifier(), RGOCallback(seed=3)
    for task in range(TASKS):
        trainer(model, tmp_path, tasks, task).train()
    resumed, loaded = Classifier(), RGOCallback(seed=3)
    trainer(resumed, tmp_path, first := RGOCallback(seed=3), 0).train()
    first.detach()
    torch.save(first.state_dict(), tmp_path / "rgo.pt")
    loaded.load_state_dict(torch.load(tmp_path / "rgo.pt"))
    for task in range(1, TASKS):
        trainer(resumed, tmp_path, loaded, task).train()
    assert_same(weights_of(resumed), weights_of(model))
    assert_same(loaded.state_dict(), tasks.state_dict())


class Broken(transformers.TrainerCallback):
    """Ends the process, as it were, after two steps."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3:
            raise KeyboardInterrupt


def broken_off(folder: Path, **options: Any) -> dict[str, Any]:
    """Learn a task, break the second off after the checkpoint of its second step.

    Return RGO's state between the two.
    """
    model, tasks = Classifier(), RGOCallback(seed=3)
    trainer(model, folder / "0", tasks, 0, **options).train()
    between = tasks.state_dict()
    second = trainer(model, folder / "1", tasks, 1, **options)
    second.add_callback(Broken)
    with pytest.raises(KeyboardInterrupt):
        second.train()
    return between


def test_a_training_that_broke_off_is_resumed_with_what_rgo_learned(
    tmp_path: Path,
) -> None:
    model, tasks = Classifier(), RGOCallback(seed=3)
    for task in range(TASKS):
        trainer(model, tmp_path / "whole", tasks, task).train()
    broken_off(tmp_path, **EVERY_STEP)
    resumed, found = Classifier(), RGOCallback(seed=3)
    second = trainer(resumed, tmp_path / "1", found, 1, **EVERY_STEP)
    second.train(resume_from_checkpoint=True)
    trainer(resumed, tmp_path / "2", found, 2).train()
    assert_same(weights_of(resumed), weights_of(model))
    assert_same(found.state_dict(), tasks.state_dict())


def test_a_training_is_not_resumed_without_what_rgo_learned(tmp_path: Path) -> None:
    between = broken_off(tmp_path, **EVERY_STEP)
    for file in tmp_path.glob("*/checkpoint-*/rgo.pt"):
        file.unlink()
    refused, given = RGOCallback(seed=3), RGOCallback(seed=3)
    second = trainer(Classifier(), tmp_path / "1", refused, 1, **EVERY_STEP)
    with pytest.raises(ValueError, match="resumes after step 2, and RGO would protect"):
        second.train(resume_from_checkpoint=True)
    given.load_state_dict(between)
    second = trainer(Classifier(), tmp_path / "1", given, 1, **EVERY_STEP)
    second.train(resume_from_checkpoint=True)
    assert given.state_dict()["finished"] == 2
    model, new = Classifier(), RGOCallback(seed=3)
    new.attach(model, adamw(model.parameters()))
    second = trainer(model, tmp_path / "1", new, 1, **EVERY_STEP)
    second.train(resume_from_checkpoint=tmp_path / "1" / "checkpoint-2")
    assert new.state_dict()["finished"] == 1


def test_a_checkpoint_of_the_model_alone_has_no_state_of_rgo(tmp_path: Path) -> None:
    options = {**EVERY_STEP, "save_only_model": True}
    trainer(Classifier(), tmp_path, RGOCallback(), 0, **options).train()
    assert list(tmp_path.glob("checkpoint-*"))
    assert not list(tmp_path.glob("checkpoint-*/rgo.pt"))
