"""RGO for the Trainer of Hugging Face's transformers."""

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rgo_core.cotangents import Curvature
from rgo_torch.integrations._alignment import Alignment
from rgo_torch.integrations._continued import Continued, MaskOfTask
from rgo_torch.observation.chunks import SampleScore
from rgo_torch.observation.labels import label_score
from rgo_torch.observation.score import Score

try:
    from transformers import TrainerCallback

    from rgo_torch.integrations._language_models import assumed_shift
    from rgo_torch.integrations._trainer_checkpoint import state_file, write_state
except ImportError as error:
    raise ImportError(
        "rgo_torch.integrations.huggingface needs transformers: "
        "pip install 'transformers[torch]'"
    ) from error


class RGOCallback(Continued, TrainerCallback):
    """Makes each ``Trainer.train()`` a task of RGO.

    One callback for all tasks, in one Trainer or in one for each. Training begins a
    task, its end runs the curvature pass over the Trainer's own training batches.

    Parameters
    ----------
    mask : callable, optional
        ``mask(task)`` returns the mask (c,) of a task for the curvature pass, True for
        its classes. Not with `score`.
    score : callable, optional
        ``score(model, batch)``; see `rgo_torch.second_moments`. Where None,
        `cross_entropy_score`, which finds out once for all tasks whether the model
        shifts labels.
    max_batches : int, optional
        After so many batches the curvature pass ends; where None it sees all.
    **options
        Those of `rgo_torch.RGO`, but that ``project="update"`` is the default: the
        Trainer's own optimizer is AdamW.

    Raises
    ------
    TypeError
        If an option is none of RGO's.
    ValueError
        If `mask` and `score` are both given, or `max_batches` is not an integer > 0.
        By a training that is resumed, if neither its checkpoint nor `load_state_dict`
        gives RGO's state: what was learned before would not be protected.

    Notes
    -----
    Into each checkpoint that holds the optimizer's state goes RGO's, as ``rgo.pt``; a
    training that is resumed takes it from there if there is none yet. Not with FSDP.

    The Trainer makes a new optimizer for each training. RGO is attached to it when
    training begins, and takes over the state of the one before.

    With several processes each observes its share, and the second moments are merged.
    DeepSpeed and FSDP's first version, which cut up weights, are refused, and so is
    nn.DataParallel, which the Trainer uses for several GPUs in one process. FSDP's
    second version is `fully_shard`, which RGO serves; here it was not tried.

    Examples
    --------
    >>> from rgo_torch.integrations.huggingface import RGOCallback
    >>> tasks = RGOCallback(seed=0)
    >>> # for dataset in stream:
    >>> #     Trainer(model, args, train_dataset=dataset, callbacks=[tasks]).train()
    >>> # with tasks.task(0): trainer.evaluate(first_test_set)
    """

    def __init__(
        self,
        *,
        mask: MaskOfTask | None = None,
        score: Score | None = None,
        max_batches: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            {"project": "update", **options},
            mask=mask,
            score=score,
            max_batches=max_batches,
        )
        self._alignment = Alignment(None, assumed_shift)

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Attach RGO to the new optimizer, and begin a task."""
        if args.n_gpu > 1:
            raise ValueError(
                f"the Trainer would use nn.DataParallel on {args.n_gpu} GPUs, which "
                "RGO does not serve; start one process for each with torchrun, or show "
                "one with CUDA_VISIBLE_DEVICES"
            )
        if state.global_step and self._is_new:
            self._resume(args, state)
        self._begin(model, optimizer, train_dataloader)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write RGO's state into the checkpoint."""
        if args.should_save and not args.save_only_model and not args.fsdp:
            write_state(self.state_dict(), args, state)

    def on_train_end(
        self,
        args: Any,
        state: Any,
        control: Any,
        *,
        train_dataloader: Any,
        **_: Any,
    ) -> None:
        """End the task with the Trainer's training batches."""
        self._end(train_dataloader)

    def _resume(self, args: Any, state: Any) -> None:
        if not (file := state_file(args, state)).is_file():
            raise ValueError(
                f"the Trainer resumes after step {state.global_step}, and RGO would "
                f"protect nothing: expected its state as {file}, or given to "
                "load_state_dict before train(), got neither; where nothing was "
                "learned before, call attach(model, optimizer), with any optimizer"
            )
        self.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))

    def _own_score(self, mask: Tensor | None, *, tried: bool = False) -> Score:
        alignment = copy(self._alignment) if tried else self._alignment
        return _aligned_score(alignment, mask, self.rgo.curvature)


def cross_entropy_score(
    *,
    shift: bool | None = None,
    mask: Tensor | None = None,
    curvature: Curvature = "ground-truth",
) -> Score:
    """Return the score of cross-entropy for batches that are dicts with labels.

    For sequence classification, token classification, causal, masked and
    sequence-to-sequence language models. Labels of -100 count nothing.

    Parameters
    ----------
    shift : bool, optional
        Whether the logits at a position predict the label of the next one. Where None,
        it is found by which of the two the model's own loss for the first batch is the
        mean cross-entropy of, and kept for all later batches: one score serves one
        model.
    mask : Tensor (c,) of bool, optional
        True for the classes in play.
    curvature : {"ground-truth", "floored", "exact"}
        See `rgo_torch.second_moments`. The exact one takes a backward pass for each
        class: not for a vocabulary.

    Returns
    -------
    callable
        ``score(model, batch)``, whose gradient is the curvature vector, for
        `rgo_torch.RGO.end_task`. It raises TypeError or ValueError where a batch has no
        integer labels of the logits' leading shape.

    Warns
    -----
    UserWarning
        By the score, with what it takes then, if `shift` is None and unknown: the model
        returns no loss for the first batch, or one that is the mean of both alignments
        or of neither (smoothed labels, a sum, a single position), and its class is none
        of transformers' causal and masked language models, token classifiers and
        encoder-decoders, nor derived from one.

    Notes
    -----
    The loss is compared without another forward pass.

    Examples
    --------
    >>> import torch, transformers
    >>> from rgo_torch.integrations.huggingface import cross_entropy_score
    >>> config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9)
    >>> model = transformers.GPT2LMHeadModel(config)
    >>> words = torch.arange(8).reshape(2, 4)
    >>> score = cross_entropy_score()
    >>> score(model, {"input_ids": words, "labels": words}).shape
    torch.Size([2])
    """
    return _aligned_score(Alignment(shift, assumed_shift), mask, curvature)


def _aligned_score(
    alignment: Alignment, mask: Tensor | None, curvature: Curvature
) -> Score:
    def score(model: nn.Module, batch: Any) -> Tensor:
        given = batch.get("labels") if isinstance(batch, Mapping) else None
        if not isinstance(given, Tensor):
            got: Any = type(batch).__name__
            if isinstance(batch, Mapping):
                kind = type(given).__name__
                got = f"a {kind} of them" if "labels" in batch else sorted(batch)
            raise TypeError(
                f"a batch must be a dict with labels, got {got}; pass score= for others"
            )
        device = next(model.parameters()).device
        moved = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        output = model(**moved)
        logits, labels = alignment.align(
            model, _logits(output), moved["labels"], output.get("loss")
        )
        return label_score(logits, labels, curvature=curvature, mask=mask)

    return SampleScore(score)


def _logits(output: Any) -> Tensor:
    logits = output.get("logits") if isinstance(output, Mapping) else None
    if not isinstance(logits, Tensor):
        raise TypeError(
            "the model must return a tensor of logits by that name, got "
            f"{type(output).__name__}; pass score= for others"
        )
    return logits
