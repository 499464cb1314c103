"""RGO in four lines: encoder and projector of one model, task after task."""

from collections.abc import Iterable
from typing import Any, Unpack

from torch import nn
from torch.optim import Optimizer

from rgo_core._checks import check_choice
from rgo_core.damping import Damping
from rgo_core.scaling import Normalize
from rgo_torch.distributed.workers import Kept, Workers
from rgo_torch.layers.places import Place
from rgo_torch.layers.skipped import Overrides
from rgo_torch.learned import Learned
from rgo_torch.mesh.gathered import gathered, mesh_of
from rgo_torch.observation.shared import Groups, as_groups
from rgo_torch.options.defaults import choose
from rgo_torch.options.deprecated import Old, translated
from rgo_torch.options.observing import Observe, as_observing
from rgo_torch.options.scope import find_scope
from rgo_torch.projecting.optimizers import Project, as_optimizers
from rgo_torch.statistics import Statistics


class RGO(Learned):
    """Lets a model learn task after task without forgetting and without replay.

    Parameters
    ----------
    model : nn.Module
        Any model: all of its parameters, real or complex, are protected: those of
        modules that `register_layout` knows, and matrices, by their inputs, others
        entry by entry (see `summary`). State dict keys and the training loop stay as
        they are. Of one with adapters (PEFT's LoRA) all that is trained is protected,
        what is frozen is left out, and features are encoded inside of the adapters
        alone.
    optimizer : torch.optim.Optimizer, or several
        What steps the model; where several optimizers do, a list of all of them.
    damping : float or rgo_core.Relative, optional
        alpha > 0: how much curvature closes a direction. A number belongs to the scale
        of the vectors; ``Relative(share)`` counts in units of the mean of each H's
        diagonal, which is the same for every scale. Where None: ``Relative(0.3)`` with
        ``project="update"``, but 0.03 beside adapters or with vectors that `observe`
        says, and 1 for a fully convolutional network; with ``project="gradient"`` what
        was measured for the vectors, see `measured_damping`, of multilayer perceptrons,
        of convolutional networks without normalisations, and where `observe` says which
        vectors; of all others ``Relative(0.03, most=0.1)``, or ``Relative(0.03)`` where
        vectors are means over outputs.
    observe : callable, optional
        What runs the curvature pass: ``observe(model, batches, **options)`` returns the
        second moments by parameter name. `second_moments` with options bound,
        ``partial(second_moments, per="batch")`` (the paper's), or one's own function of
        those options that it is given: `mask`, `score`, `loss`, `samples` and `whole`
        of `end_task`, `layout`, `max_features`, `sketch_rows` and `shared_inputs` of
        RGO, and beside adapters a `chunk_size`, where they are not None. Where None:
        `second_moments` with one vector a sample for ``project="gradient"``, by the
        mean over outputs of encoded multilayer perceptrons and of all that has scaled
        projections, else by their root mean square; and with ``curvature="floored"``
        where projections are unscaled, but beside a relative damping of means. With
        ``"update"`` what cannot cancel, for before a layer normalisation the mean over
        outputs is zero. There a fully convolutional network has one vector for each
        position, with the mean. What is given to `end_task` takes the place of what is
        bound here.
    project : {"gradient", "update"}, optional
        What is projected: the gradient (the paper's) or, for adaptive optimizers, the
        optimizer's update. Where None: the gradient with SGD, ASGD and LBFGS and what
        wraps them; the update with all others, and of a model that tensor parallelism
        cut up.
    normalize : {"weights", "all", "none"}, optional
        Which projections are scaled to trace n: those of weights, or of biases too (the
        paper's), or none; see `GradientProjector`. Where None: "none", but
        "weights" beside adapters, whose rank space has so few directions that a task or
        two would close them all.
    encode : bool or iterable of str or Place
        Whether each task permutes the layers' channels (False: the paper's RGO-2). Or
        where, in place of all that RGO finds: names of modules whose inputs are
        permuted, or a `Place`. That is for adapters of one's own: the model counts as
        one with adapters, and what is frozen when RGO is attached is left out.
    seed : int
        Draws the permutations.
    unencoded : iterable of str, optional
        Layers whose outputs are not permuted, in place of the default, the last layer
        unless a matrix of one's own comes after it.
        Beside adapters: modules whose inputs are not, by default none.
    protect : iterable of str or nn.Module, optional
        What to protect, in place of all: modules, or names of modules or parameters.
        The rest is left as it is, and `summary` says so.
    layout : mapping of str to Axes or None, optional
        Axes of parameters by name, in place of those found; None leaves a parameter
        unprotected. See `find_layout`.
    statistics : {"per-task", "frozen", "running"}
        What becomes of the running statistics of batch normalisation, which no
        projection protects: kept for each task and put back by `task`; those of the
        first task for ever; or left to PyTorch, and forgotten.
    process_group : torch.distributed.ProcessGroup, optional
        The workers that train this model together, each on other samples; those of a
        DistributedDataParallel, or else of the default group where there is one, if
        None, and no others where all are those of tensor parallelism. See `end_task`.
    moments : {"replicated", "sharded"}
        Whether each of several workers keeps all second moments, or a share of them,
        which divides their memory by the workers. A state is whole then in
        `torch.distributed.checkpoint` alone.
    max_features : int, optional
        A weight of more inputs, or a longer bias, keeps a sketch of its second moment
        (Frequent Directions), of `sketch_rows` rows: ``n l`` numbers in place of
        ``n^2``, exact while no more than l directions were seen. None: all keep the
        whole, and a GiB and more for one is warned of.
    sketch_rows : int
        l, at least 1.
    shared_inputs : iterable of iterable of str, optional
        Names of layers with LoRA that take in the same features, by groups, as in
        ``[("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")]``; ends of names
        do, and those that stand in one module belong together. Their A have one
        permutation, one second moment (the sum of what theirs would be) and one
        projection: a third of the memory and of the inverses. That they do take in the
        same is checked as they are observed.
    **old
        Names that options had in 0.1.0, with a warning; gone in the next release.

    Raises
    ------
    ValueError
        If an option is not one of those listed, another RGO is attached to the model,
        or as `GradientProjector` and `FeatureEncoder` do. No hooks are left then.

    Warns
    -----
    UserWarning
        If transformers says that the model was pretrained, and its own features would
        be permuted; if what is called a shortcut and convolves would be permuted; if
        ``statistics="running"`` meets running statistics; or as `GradientProjector`
        does.

    Notes
    -----
    State: one float64 matrix n x n and its projection for each weight (n inputs) and
    each bias (n outputs), a sketch or a diagonal where the layout says so, see
    `summary`.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> rgo = rgo_torch.RGO(model, optimizer, seed=0)
    >>> for task in range(2):
    ...     x, y = torch.randn(8, 3), torch.randint(2, (8,))
    ...     rgo.begin_task(task)
    ...     torch.nn.functional.cross_entropy(model(x), y).backward()
    ...     optimizer.step()
    ...     rgo.end_task([(x, y)])
    >>> with rgo.task(0):
    ...     logits = model(x)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Iterable[Optimizer],
        *,
        damping: Damping | None = None,
        observe: Observe | None = None,
        project: Project | None = None,
        normalize: Normalize | None = None,
        encode: bool | Iterable[str | Place] = True,
        seed: int = 0,
        unencoded: Iterable[str] | None = None,
        protect: Iterable[str | nn.Module] | None = None,
        layout: Overrides | None = None,
        statistics: Statistics = "per-task",
        process_group: Any = None,
        moments: Kept = "replicated",
        max_features: int | None = None,
        sketch_rows: int = 128,
        shared_inputs: Groups | None = None,
        **old: Unpack[Old],
    ) -> None:
        damping, relative, observe, normalize, unencoded = translated(
            old, damping, observe, normalize, unencoded
        )
        forms = {
            "max_features": max_features,
            "sketch_rows": sketch_rows,
            "shared_inputs": as_groups(shared_inputs),
        }
        check_choice("statistics", statistics, ("per-task", "frozen", "running"))
        optimizers = as_optimizers(optimizer)
        with gathered(model):  # once for all that looks at it
            scope = find_scope(model, encode, protect, layout)
            chosen = choose(
                optimizers,
                as_observing(observe),
                beside_adapters=scope.is_beside,
                encode=scope.encodes,
                project=project,
                damping=damping,
                relative=relative,
                normalize=normalize,
                convolves=scope.convolves,
                maps=scope.maps,
                is_plain=scope.is_plain,
                is_cut=mesh_of(model) is not None,
            )
            super().__init__(
                model,
                optimizers,
                chosen,
                scope,
                forms,
                seed=seed,
                unencoded=unencoded,
                statistics=statistics,
                workers=Workers(model, process_group, moments),
            )
