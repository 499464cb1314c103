"""One RGO over the optimizers and loops that a library makes anew for every task."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from rgo_core import extrapolate
from rgo_core._checks import check_integer
from rgo_torch import RGO
from rgo_torch.integrations._closures import run_closures_first
from rgo_torch.integrations._trial import try_score
from rgo_torch.observation.score import Score, loss_score
from rgo_torch.options.deprecated import check_names
from rgo_torch.projecting.optimizers import sums_gradients

MaskOfTask = Callable[[int], Tensor]


class Continued:
    """Attaches RGO to one model and to each optimizer that comes to train it.

    A new optimizer gets a new RGO, which takes over the state of the one before.

    Parameters
    ----------
    options : mapping of str to object
        The keywords of `rgo_torch.RGO`.
    mask : callable, optional
        ``mask(task)`` returns the mask (c,) of a task for the curvature pass, True for
        its classes.
    score : callable, optional
        For batches or losses that the curvature pass does not know; see
        `rgo_torch.second_moments`.
    max_batches : int, optional
        After so many batches the curvature pass ends; where None it sees all. They
        stand for all that the loader tells of.

    Raises
    ------
    TypeError
        If an option is none of RGO's.
    ValueError
        If `mask` and `score` are both given, or `max_batches` is not an integer > 0.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        mask: MaskOfTask | None = None,
        score: Score | None = None,
        max_batches: int | None = None,
    ) -> None:
        signature = inspect.signature(RGO)
        signature.bind(None, None, **options)
        check_names(options.keys() - signature.parameters.keys())
        if mask is not None and score is not None:
            raise ValueError("a score must see to the mask itself, got score and mask")
        if max_batches is not None:
            check_integer("max_batches", max_batches, 1)
        self._options = dict(options)
        self._mask, self._score, self._max_batches = mask, score, max_batches
        self._rgo: RGO | None = None
        self._model: nn.Module | None = None
        self._names: set[str] = set()
        self._optimizer: Optimizer | None = None
        self._attached = ExitStack()
        self._awaited: Mapping[str, Any] = {}  # the state for the first RGO

    @property
    def rgo(self) -> RGO:
        """The RGO attached at the moment: a later optimizer brings another one."""
        if self._rgo is None:
            raise RuntimeError(
                "RGO is attached when the first training begins; to use it before, "
                "call attach(model, optimizer)"
            )
        return self._rgo

    def attach(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Attach RGO to an optimizer of the model; training does so by itself.

        By hand it serves to load a state and evaluate before any training.

        Parameters
        ----------
        model : nn.Module
            The same one every time.
        optimizer : torch.optim.Optimizer
            Or a wrapper of one that holds it as ``optimizer``.

        Raises
        ------
        ValueError
            If the model is another one than before or has parameters that it had not,
            or as `rgo_torch.RGO` does. What was learned stays, to be attached again.
        """
        optimizer = _innermost(optimizer)
        names = {name for name, _ in model.named_parameters()}
        self._check_model(model, names)
        if optimizer is self._optimizer:
            return
        state = self._state()
        self.detach()
        with ExitStack() as attached:
            chosen = "gradient" if sums_gradients(optimizer) else "update"
            if (self._options.get("project") or chosen) == "update":
                attached.callback(run_closures_first(optimizer).remove)
            rgo = RGO(model, optimizer, **self._options)
            attached.callback(rgo.detach)
            if state:
                rgo.load_state_dict(state)
            self._attached = attached.pop_all()
        self._rgo, self._awaited = rgo, {}
        self._model, self._names, self._optimizer = model, names, optimizer

    def detach(self) -> None:
        """Remove every hook: model and optimizer are plain until RGO is attached again.

        What was learned stays.
        """
        self._attached.close()
        self._optimizer = None

    def task(self, task: int) -> AbstractContextManager[None]:
        """Encode for a task that was begun, inside the context: to evaluate on it."""
        return self.rgo.task(task)

    def summary(self) -> str:
        """Return the table of `rgo_torch.RGO.summary`."""
        return self.rgo.summary()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the RGO; empty where there is none yet."""
        return self._state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of an RGO, now or when the first one is attached."""
        if self._rgo is None:
            self._awaited = state_dict
        else:
            self._rgo.load_state_dict(state_dict)

    @property
    def _is_new(self) -> bool:
        """Whether nothing was learned or loaded yet."""
        return self._rgo is None and not self._awaited

    def _state(self) -> dict[str, Any]:
        return dict(self._awaited) if self._rgo is None else self._rgo.state_dict()

    def _begin(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loader: Any,
        prepare: Callable[[Any], Any] = lambda batch: batch,
    ) -> None:
        self.attach(model, optimizer)
        if self._score is None and "observe" not in self._options:
            mask, curvature = self._mask_now(), self.rgo.curvature
            score = self._own_score(mask, tried=True)
            score = score or loss_score("cross-entropy", curvature, mask)
            try_score(score, self.rgo.model, loader, prepare)
        self.rgo.begin_task()

    def _end(self, batches: Iterable[Any]) -> None:
        mask = self._mask_now()
        score = self._score or self._own_score(mask)
        moments: Mapping[str, Any] = self.rgo.observe(
            islice(batches, self._max_batches),
            mask=mask if score is None else None,
            score=score,
            together=True,
        )
        if (share := self._share_of(batches)) < 1:
            moments = {n: extrapolate(each, share) for n, each in moments.items()}
        self.rgo.consolidate(moments, donate=True, together=True)

    def _share_of(self, batches: Iterable[Any]) -> float:
        """Return the share of the batches that is observed; 1 where nothing tells."""
        try:
            count = len(batches)  # type: ignore[arg-type]
        except TypeError:
            return 1.0
        return min(1.0, (self._max_batches or count) / max(count, 1))

    def _own_score(self, mask: Tensor | None, *, tried: bool = False) -> Score | None:
        """Return the score for this library's batches; None for pairs (x, y).

        One that is `tried` is thrown away, with what it found out.
        """
        return None

    def _mask_now(self) -> Tensor | None:
        return None if self._mask is None else self._mask(self.rgo.finished)

    def _check_model(self, model: nn.Module, names: set[str]) -> None:
        if self._model is None:
            return
        if model is not self._model:
            raise ValueError(
                "the model must be the one that learned the tasks before, got another "
                f"{type(model).__name__}; give it a new {type(self).__name__}, and "
                "load this one's state_dict into that if the weights were copied"
            )
        if new := sorted(names - self._names):
            raise ValueError(
                "the model must have the parameters of the first task, got new ones: "
                f"{new}; make every head and adapter before training begins"
            )


def _innermost(optimizer: Any) -> Optimizer:
    """Return the optimizer whose hooks run: Accelerate and Lightning wrap it."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            "optimizer must be a torch.optim.Optimizer or a wrapper of one, got "
            f"{type(optimizer).__name__}"
        )
    return optimizer
