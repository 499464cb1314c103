"""The curvature pass: a second look at a task's data, after its training."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rgo_core._checks import check_choice
from rgo_core.cotangents import Curvature, Loss
from rgo_core.vectors import PERS, REDUCES, Per, Reduce
from rgo_torch.layers.sample_axes import warn_of_miscounted, warn_of_summed
from rgo_torch.layers.skipped import Overrides
from rgo_torch.layout import find_layout
from rgo_torch.mesh.gathered import on_whole
from rgo_torch.modules.wrappers import original_model
from rgo_torch.observation.apart import Apart
from rgo_torch.observation.blocks import Block, moment_blocks
from rgo_torch.observation.calls import Calls, thawed, undisturbed
from rgo_torch.observation.chunks import check_chunk_size
from rgo_torch.observation.joining import may_join, most_samples
from rgo_torch.observation.sampling import Samples, Sampling, wanted_samples
from rgo_torch.observation.score import Score, check_gradients_flow, loss_score
from rgo_torch.observation.shared import (
    Groups,
    check_same_inputs,
    shared_layers,
    shared_parameters,
)
from rgo_torch.parameters.found import projected_parameters
from rgo_torch.parameters.parameter import Moment, make_bound


@on_whole
def second_moments(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    per: Per | None = "sample",
    reduce: Reduce | None = "mean",
    curvature: Curvature = "ground-truth",
    mask: Tensor | None = None,
    score: Score | None = None,
    loss: Loss | None = None,
    layout: Overrides | None = None,
    max_features: int | None = None,
    sketch_rows: int = 128,
    chunk_size: int | None = None,
    samples: Samples | None = None,
    whole: int | None = None,
    shared_inputs: Groups | None = None,
) -> dict[str, Moment]:
    """Return the second moment of the curvature vectors of every projected parameter.

    Runs the model in eval mode (no dropout, running statistics of batch normalisation)
    and not compiled, and restores each module's mode. Frozen parameters are observed
    too: they may be trained again. Parameters, gradients and what a state dict has of
    buffers (but for more than 65536 integers in one) are left as they are, and no
    random numbers are drawn (a loader may draw its own).

    Parameters
    ----------
    model : nn.Module
    batches : iterable
        Pairs (x, y) of inputs and integer labels, moved to the model's device; targets
        with another `loss`, and with `score` anything that it takes.
    per : {"sample", "batch", "position"}
        One curvature vector a sample, whatever the batch size; one a batch, the
        gradient of the summed score; or one for each position of a sample, where a
        layer meets a row of its inputs at several (one a sample in layers without
        rows). None: what cannot cancel, at a cost that the layer can bear: positions
        of linear layers and of convolutions whose patches do not overlap, steps of
        recurrent ones, samples of all others.
    reduce : {"mean", "rms", "signs", "uncancelled"}
        Over a layer's outputs; see `rgo_core.curvature_vectors`. None: the root mean
        square, but the mean of convolutions whose patches overlap. Where a layer's mean
        cancels, as before a softmax or a layer normalisation, ``"mean"`` takes it with
        the weights of `rgo_core.output_contrast`, unless all of l'' is asked for
        (``curvature="exact"``).
    curvature : {"ground-truth", "floored", "exact"}
        The true class's diagonal of l'' in one backward pass, the paper's or with a
        floor, or the whole l'' in one for each class; see `rgo_core.score_cotangents`.
    mask : Tensor (c,) of bool, optional
        True for the classes in play, for a head that serves several tasks.
    score : callable, optional
        For other losses, and for labels of positions (`label_score`): ``score(model,
        batch)`` returns a tensor of shape (b,), or (k, b) for k vectors a sample, whose
        gradient is the curvature vector: outputs times a constant (detached) column of
        the square root of l''. `per`, `reduce` apply as always; `curvature` and `mask`
        do not. A tensor of the batch must be (b, ...), or the batch list b samples.
    loss : {"cross-entropy", "binary", "squared-error"}, optional
        What pairs (x, y) are trained on, cross-entropy where neither this nor `score`
        is given. Of ``"binary"`` cross-entropy of logits and of half the
        ``"squared-error"`` y are targets of the outputs' shape, and l'' is a diagonal,
        whole: one backward pass for each output, whatever `curvature`.
    layout : mapping of str to Axes or None, optional
        Axes of parameters by name, in place of those found; see `find_layout`.
    max_features, sketch_rows : int
        A weight of more inputs, or a longer bias, gets a sketch of so many rows.
    chunk_size : int, optional
        Larger batches are observed in parts of so many samples, in the memory of one
        part. Not with ``per="batch"``, and only where each sample's score does not
        depend on the others. A batch is cut along the first axis of its tensors if all
        have the same length there; it stays whole otherwise, and where this is None.
    samples : int or "enough", optional
        Observe a part: stop with the batch that reaches so many samples, or as many as
        `rgo_core.enough_samples` says of the largest n. The batches must come in
        random order, as of a loader that shuffles.
    whole : int, optional
        How many samples the observed ones stand for: the second moments are scaled to
        it (`rgo_core.extrapolate`), so that a damping keeps its meaning. Where None:
        with `samples`, what a DataLoader's sampler or a list of batches holds (give it
        for other iterables); without, those observed. Give it alone where `batches` is
        a random part already.
    shared_inputs : iterable of iterable of str, optional
        Layers with LoRA that take in the same features, by groups of names; the second
        moment of the first one's A is the sum over all of a group, see `RGO`.

    Returns
    -------
    dict of str to SecondMoment, DiagonalMoment or SketchedMoment
        By parameter name, in the form that its layout asks for. Parameters that no
        score depends on, or only through ``torch.no_grad``, are left out.

    Raises
    ------
    TypeError
        If `batches` are a data set or a mapping, a batch is not a pair of tensors,
        labels are not integers, `mask` is not a tensor of bool, or model or `score` do
        not return a tensor of scores.
    ValueError
        If there are no batches, a label is outside the classes in play, an option is
        not one of those listed, `samples` needs a `whole` or that is fewer than were
        observed, `chunk_size` is not an integer of at least 1 or given with
        ``per="batch"``, both `score` and `loss` are given, targets have another shape
        than the outputs, scores are not one a sample along their last axis, a logit or
        vector is NaN or a vector infinite, no parameter is observed at all, or those
        that share a second moment take in other features.
    RuntimeError
        Within `torch.inference_mode`.

    Warns
    -----
    UserWarning
        If the model returns probabilities, which are taken for logits, or a layer takes
        in other entries than samples, has one vector for a batch or for some of it, is
        encoded and read without a call, or does not tell its gradients by its calls.

    Notes
    -----
    A forward and k backward passes to the layers' outputs (none to the weights), and
    ``n^2`` multiplications a vector in float64. The first axis of a layer's input is
    that of the samples, all between it and the features are positions; where it has
    another length than the scores (sequences joined, time first) each of its entries
    has a vector of its own. Normalizations and `MultiheadAttention` have formulas;
    other layers without rows (all but Linear, Conv1d, Conv2d and Embedding) are called
    again for their samples, by `torch.func`, and so is a whole model that uses a
    parameter otherwise: the vectors of the first batch are compared with its gradient.
    One whose forward looks at values gets one vector a batch. PyTorch refuses reentrant
    checkpointing.

    Batches that are alike are joined, up to 1024 samples and 8 MiB of what is kept,
    where vectors are of samples alone and the score none of one's own.

    With ``curvature="exact"`` and ``reduce="mean"`` the weight of the last layer has no
    curvature: the columns of the root of l'' sum to zero over the logits.

    References
    ----------
    Liu and Liu (2022), equation 12 and appendix B.1.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> batches = [(torch.randn(8, 3), torch.zeros(8, dtype=torch.int64))]
    >>> moments = rgo_torch.second_moments(torch.nn.Linear(3, 2), batches)
    >>> moments["weight"].matrix.shape, int(moments["weight"].count)
    (torch.Size([3, 3]), 8)
    """
    check_choice("per", per, (None, *PERS))
    check_choice("reduce", reduce, (None, *REDUCES))
    check_chunk_size(chunk_size, per)
    check_gradients_flow()
    if reduce == "mean" and not (curvature == "exact" and score is None):
        reduce = "uncancelled"
    bound = make_bound(max_features, sketch_rows)
    model = original_model(model)
    layers = find_layout(model, layout).layers
    parameters = projected_parameters(model, layers, bound)
    shared = shared_layers(model, layers, shared_inputs)
    blocks = moment_blocks(parameters, shared_parameters(parameters, shared))
    scored = _chosen_score(score, loss, curvature, mask)
    run = partial(Apart(model, layers, parameters.values(), per).calls, scored)
    joins = chunk_size is None and may_join(model, score, per)
    sampling = Sampling(batches, wanted_samples(samples, parameters.values()), whole)
    with undisturbed(model), thawed(parameters.values()), torch.enable_grad():
        for together in sampling:
            for calls, count in sampling.run(run, together, chunk_size):
                check_same_inputs(calls, shared)
                _fold(blocks, calls, per, reduce, count)
                if joins and not sampling.seen:
                    sampling.most = most_samples(calls, count)
                del calls  # before the next forward pass
                sampling.note(count)
    used = [layer for p in parameters.values() for layer, _ in p.uses]
    warn_of_miscounted(used)
    warn_of_summed(used)
    return _finished(blocks, sampling)


def _chosen_score(
    score: Score | None, loss: Loss | None, curvature: Curvature, mask: Tensor | None
) -> Score:
    if score is None:
        return loss_score(loss or "cross-entropy", curvature, mask)
    if loss is not None:
        raise ValueError(f"expected score or loss, got both, loss={loss!r}")
    return score


@torch.no_grad()
def _fold(
    blocks: Iterable[Block],
    calls: Calls,
    per: Per | None,
    reduce: Reduce | None,
    count: int,
) -> None:
    """Add the vectors of some samples to the second moments.

    Without a graph: what a layer called again takes from its submodules would stay in
    one, and that in the second moment.
    """
    for block in blocks:
        block.add(calls, per, reduce, count)


def _finished(blocks: Iterable[Block], sampling: Sampling) -> dict[str, Moment]:
    """Return the second moments of what was observed, scaled to what it stands for."""
    if not sampling.seen:
        raise ValueError(
            "the curvature pass needs at least one batch, got none: a generator gives "
            "its batches once, a loader with drop_last=True none of too few samples"
        )
    moments = {block.name: block.finish(sampling.share) for block in blocks}
    found = {name: moment for name, moment in moments.items() if moment is not None}
    if not found:
        raise ValueError("no score depends on the output of a protected layer")
    return found
