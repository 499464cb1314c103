"""RGO for Lightning's Trainer."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rgo_torch.integrations._continued import Continued, MaskOfTask
from rgo_torch.observation.score import Score

try:
    from lightning.pytorch import Callback
    from lightning.pytorch.utilities.model_helpers import is_overridden
except ImportError as no_lightning:
    try:
        from pytorch_lightning import Callback
        from pytorch_lightning.utilities.model_helpers import is_overridden
    except ImportError:
        raise ImportError(
            "rgo_torch.integrations.lightning_callback needs Lightning: "
            "pip install lightning"
        ) from no_lightning

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class TrainingBatches:
    """The Trainer's training batches as `training_step` gets them.

    In the precision of its plugin, on its device, and through the hooks of the module
    or the datamodule around the transfer, which may normalise or augment.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer

    def __len__(self) -> int:
        return len(self._trainer.train_dataloader)

    def __iter__(self) -> Iterator[Any]:
        """Yield them as the loader does."""
        return map(self.prepared, self._trainer.train_dataloader)

    def prepared(self, batch: Any) -> Any:
        """Return what the Trainer makes of a batch."""
        trainer: Any = self._trainer
        batch = trainer.precision_plugin.convert_input(batch)
        name, data = "on_before_batch_transfer", trainer.datamodule
        given = data is not None and is_overridden(name, data)
        owner = data if given else trainer.lightning_module
        batch = getattr(owner, name)(batch, 0)
        return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


class RGOCallback(Continued, Callback):
    """Makes each ``Trainer.fit`` a task of RGO.

    One callback for all tasks, in one Trainer or in one for each. Fitting begins a
    task, its end runs the curvature pass over the Trainer's own training batches: pairs
    (x, y), for which the module's ``forward(x)`` returns logits.

    Parameters
    ----------
    mask : callable, optional
        ``mask(task)`` returns the mask (c,) of a task for the curvature pass, True for
        its classes. Not with `score`.
    score : callable, optional
        ``score(module, batch)`` for other batches or losses; see
        `rgo_torch.second_moments`.
    max_batches : int, optional
        After so many batches the curvature pass ends; where None it sees all.
    **options
        Those of `rgo_torch.RGO`.

    Raises
    ------
    TypeError
        If an option is none of RGO's.
    ValueError
        If `mask` and `score` are both given, or `max_batches` is not an integer > 0.
        By a fit from a checkpoint without RGO's state, if none was loaded.

    Notes
    -----
    `configure_optimizers` may return a new optimizer for each fit: RGO is attached to
    it when training begins, and takes over the state of the one before.

    Lightning hands the forward and the backward pass to the optimizer as a closure, in
    manual optimization too. With ``project="update"``, for Adam and its kin, it is run
    before the optimizer's step, which is where the optimizer would run it.

    The state is part of Lightning's checkpoints.

    Examples
    --------
    >>> from rgo_torch.integrations.lightning_callback import RGOCallback
    >>> tasks = RGOCallback(project="update", seed=0)
    >>> # for loader in stream:
    >>> #     Trainer(max_epochs=1, callbacks=[tasks]).fit(module, loader)
    >>> # with tasks.task(0): trainer.test(module, first_loader)
    """

    def __init__(
        self,
        *,
        mask: MaskOfTask | None = None,
        score: Score | None = None,
        max_batches: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(options, mask=mask, score=score, max_batches=max_batches)

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Attach RGO to the optimizer, and begin a task."""
        if len(trainer.optimizers) != 1:
            raise ValueError(
                "RGO serves a module with one optimizer, got "
                f"{len(trainer.optimizers)}; call rgo_torch.RGO in your own loop"
            )
        if trainer.ckpt_path and self._is_new:
            raise ValueError(
                f"the fit goes on from {trainer.ckpt_path}, which holds no state of "
                "RGO, and RGO would protect nothing; expected it there, or given to "
                "load_state_dict before fit(); where nothing was learned before, call "
                "attach(module, optimizer) first, with any optimizer"
            )
        batches = TrainingBatches(trainer)
        loader, prepare = trainer.train_dataloader, batches.prepared
        self._begin(pl_module, trainer.optimizers[0], loader, prepare)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """End the task with the Trainer's training batches."""
        self._end(TrainingBatches(trainer))
