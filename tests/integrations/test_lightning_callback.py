"""Lightning's Trainer, with RGO in a callback, learns as one's own loop does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from integrations.own_loop import (
    STEPS,
    TASKS,
    MakeOptimizer,
    Wrapped,
    adam,
    learn,
    mask_of,
    sgd,
    task_data,
)
from torch.utils.data import DataLoader
from torch_backend.nets import assert_same, weights_of

lightning = pytest.importorskip("lightning")

from integrations.lightning_trainers import Module, trainer  # noqa: E402

from rgo_torch import second_moments  # noqa: E402
from rgo_torch.integrations.lightning_callback import RGOCallback  # noqa: E402

# The library's own.
pytestmark = pytest.mark.filterwarnings("ignore")


def loader(task: int) -> DataLoader:
    return DataLoader([task_data(task)], batch_size=None)


def fit(module: Module, tasks: Any, folder: Path) -> None:
    for task in range(TASKS):
        trainer(tasks, folder).fit(module, loader(task))


@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize(
    ("make_optimizer", "project"), [(sgd, "gradient"), (adam, "update")]
)
def test_a_trainer_for_each_task_equals_a_loop_of_one_s_own(
    tmp_path: Path, make_optimizer: MakeOptimizer, project: str, manual: bool
) -> None:
    module, expected = Module(make_optimizer, manual), Wrapped()
    tasks = RGOCallback(project=project, seed=3, mask=mask_of)
    fit(module, tasks, tmp_path)
    rgo = learn(expected, make_optimizer, project=project, seed=3, mask=mask_of)
    assert_same(weights_of(module), weights_of(expected))
    assert_same(tasks.state_dict(), rgo.state_dict())


def test_the_gradient_is_clipped_before_the_update_is_projected(tmp_path: Path) -> None:
    class Clipping(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            loss = None if closure is None else closure()
            gradients = [
                p.grad.flatten() for g in self.param_groups for p in g["params"]
            ]
            lengths.append(float(torch.cat(gradients).norm()))
            super().step()
            return loss

    lengths: list[float] = []
    module = Module(lambda parameters: Clipping(parameters, lr=0.1))
    tasks = RGOCallback(project="update")
    trainer(tasks, tmp_path, gradient_clip_val=1e-3).fit(module, loader(0))
    assert len(lengths) == STEPS
    assert max(lengths) < 1.01e-3


def test_a_task_is_evaluated_in_its_encoding(tmp_path: Path) -> None:
    module, tasks = Module(), RGOCallback()
    fit(module, tasks, tmp_path)
    x, _ = task_data(0)
    for task in range(TASKS):
        with tasks.task(task):
            (predicted,) = trainer(tasks, tmp_path).predict(module, loader(0))
            assert torch.equal(predicted, module(x))


def test_the_state_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    module, tasks = Module(), RGOCallback(seed=3)
    last = trainer(tasks, tmp_path)
    last.fit(module, loader(0))
    last.save_checkpoint(tmp_path / "first.ckpt")
    for task in range(1, TASKS):
        trainer(tasks, tmp_path).fit(module, loader(task))
    resumed, loaded = Module(), RGOCallback(seed=3)
    checkpoint = torch.load(tmp_path / "first.ckpt", weights_only=False)
    resumed.load_state_dict(checkpoint["state_dict"])
    loaded.load_state_dict(checkpoint["callbacks"][loaded.state_key])
    for task in range(1, TASKS):
        trainer(loaded, tmp_path).fit(resumed, loader(task))
    assert_same(weights_of(resumed), weights_of(module))
    assert_same(loaded.state_dict(), tasks.state_dict())


def test_a_fit_that_goes_on_from_its_checkpoint_ends_as_if_it_had_not_stopped(
    tmp_path: Path,
) -> None:
    models = Module(adam), Module(adam)
    both = [RGOCallback(project="update", seed=3) for _ in models]
    for module, tasks in zip(models, both, strict=True):
        trainer(tasks, tmp_path).fit(module, loader(0))
    trainer(both[0], tmp_path).fit(models[0], loader(1))

    class Stop(lightning.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "half.ckpt")
                raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        trainer(both[1], tmp_path, callbacks=[both[1], Stop()]).fit(
            models[1], loader(1)
        )
    resumed, loaded = Module(adam), RGOCallback(project="update", seed=3)
    trainer(loaded, tmp_path).fit(
        resumed, loader(1), ckpt_path=tmp_path / "half.ckpt", weights_only=False
    )
    assert_same(weights_of(resumed), weights_of(models[0]))
    assert_same(loaded.state_dict(), both[0].state_dict())


def test_a_fit_from_a_checkpoint_without_what_rgo_learned_is_refused(
    tmp_path: Path,
) -> None:
    plain = trainer(lightning.Callback(), tmp_path)
    plain.fit(Module(), loader(0))
    plain.save_checkpoint(tmp_path / "plain.ckpt")
    again = {"ckpt_path": tmp_path / "plain.ckpt", "weights_only": False}
    module, tasks = Module(), RGOCallback()
    longer = trainer(tasks, tmp_path, max_epochs=STEPS + 1)
    with pytest.raises(ValueError, match="which holds no state of RGO"):
        longer.fit(module, loader(0), **again)
    tasks.attach(module, sgd(module.parameters()))
    longer = trainer(tasks, tmp_path, max_epochs=STEPS + 1)
    longer.fit(module, loader(0), **again)
    assert tasks.state_dict()["finished"] == 1


def test_a_module_with_two_optimizers_is_refused(tmp_path: Path) -> None:
    class Two(Module):
        def configure_optimizers(self) -> Any:
            return [sgd(self.parameters()), sgd(self.parameters())]

    with pytest.raises(ValueError, match="a module with one optimizer, got 2"):
        trainer(RGOCallback(), tmp_path).fit(Two(manual=True), loader(0))


def test_batches_that_are_no_pairs_are_refused_before_the_training(
    tmp_path: Path,
) -> None:
    x, y = task_data(0)
    loader = DataLoader(list(zip(x, y.float(), strict=True)), batch_size=len(x))
    module = Module()
    before = weights_of(module.network)
    with pytest.raises(TypeError, match="integer"):
        lightning.Trainer(
            max_epochs=1,
            callbacks=[RGOCallback()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=tmp_path,
        ).fit(module, loader)
    assert_same(weights_of(module.network), before)


class Prepared(Module):
    """Takes batches that its hooks have still to make into what it was trained on."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return 3 * x, y

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return x - 1, y


def test_batches_are_observed_as_the_hooks_make_them(tmp_path: Path) -> None:
    module, tasks = Prepared(), RGOCallback(seed=0, max_batches=1)
    trainer(tasks, tmp_path).fit(module, loader(0))
    found = tasks.rgo.projector.moments
    x, y = task_data(0)
    tasks.detach()
    curvature = tasks.rgo.curvature
    expected = second_moments(module, [(3 * x - 1, y)], curvature=curvature)
    for name, moment in expected.items():
        torch.testing.assert_close(found[name].matrix, moment.matrix)


def test_an_adaptive_optimizer_needs_no_option(tmp_path: Path) -> None:
    module, tasks = Module(adam), RGOCallback(seed=0)
    trainer(tasks, tmp_path).fit(module, loader(0))
    assert tasks.rgo.projector.project == "update"
    assert tasks.rgo.finished == 1
