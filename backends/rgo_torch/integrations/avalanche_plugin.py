"""RGO for the strategies of Avalanche."""

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from rgo_torch.integrations._continued import Continued, MaskOfTask
from rgo_torch.observation.chunks import SampleScore
from rgo_torch.observation.labels import label_score
from rgo_torch.observation.score import Score

try:
    from avalanche.core import SupervisedPlugin
    from avalanche.models.utils import avalanche_forward
except ImportError as error:
    raise ImportError(
        "rgo_torch.integrations.avalanche_plugin needs Avalanche: "
        "pip install avalanche-lib"
    ) from error


class RGOPlugin(Continued, SupervisedPlugin):
    """Makes each training experience a task of RGO, and evaluates each in its task.

    An experience that is evaluated is encoded for the task of the training experience
    with its index in the stream; where that was not trained yet, for the newest task.

    Parameters
    ----------
    mask : callable, optional
        ``mask(task)`` returns the mask (c,) of a task for the curvature pass, True for
        its classes. Not with `score`.
    score : callable, optional
        ``score(model, batch)`` for losses other than cross-entropy, with batches
        [x, y, ..., task label]; see `rgo_torch.second_moments`.
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

    Notes
    -----
    The curvature pass takes the experience's own data in batches of the strategy's
    size, without what a replay memory adds.

    Heads that come with their experience come too late, and are refused: let the model
    adapt to every experience before training. Then name the heads to be left unencoded
    as in any other model.

    Examples
    --------
    >>> from rgo_torch.integrations.avalanche_plugin import RGOPlugin
    >>> plugin = RGOPlugin(seed=0)
    >>> # strategy = Naive(model, optimizer, plugins=[plugin])
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
        self._tasks: dict[int, int] = {}  # by the index of the experience
        self._evaluation = ExitStack()

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Attach RGO where the optimizer is new, and begin a task."""
        self._evaluation.close()  # where one was broken off
        self._begin(strategy.model, strategy.optimizer, _loader(strategy))
        index = strategy.experience.current_experience
        self._tasks[index] = self.rgo.finished

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """End the task with the experience's data."""
        self._end(_loader(strategy, shuffle=self._max_batches is not None))

    def before_eval_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Encode for the task of the experience to evaluate."""
        self._evaluation.close()
        task = self._tasks.get(strategy.experience.current_experience)
        if task is not None:
            self.attach(strategy.model, strategy.optimizer)
            self._evaluation.enter_context(self.task(task))

    def after_eval_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Encode for the newest task again."""
        self._evaluation.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the RGO, and which experience was which task."""
        return {"rgo": super().state_dict(), "tasks": dict(self._tasks)}

    def load_state_dict(self, state_dict: Any) -> None:
        """Take over a state that `state_dict` returned."""
        super().load_state_dict(state_dict["rgo"])
        self._tasks = dict(state_dict["tasks"])

    def _own_score(self, mask: Tensor | None, *, tried: bool = False) -> Score:
        curvature = self.rgo.curvature

        def score(model: nn.Module, batch: Any) -> Tensor:
            device = next(model.parameters()).device
            x, y, label = (batch[part].to(device) for part in (0, 1, -1))
            logits = avalanche_forward(model, x, label)
            return label_score(logits, y, curvature=curvature, mask=mask)

        return SampleScore(score)


def _loader(strategy: Any, *, shuffle: bool = False) -> DataLoader[Any]:
    data = strategy.experience.dataset
    return DataLoader(
        data,
        batch_size=strategy.train_mb_size,
        shuffle=shuffle,
        collate_fn=getattr(data, "collate_fn", None),
    )
