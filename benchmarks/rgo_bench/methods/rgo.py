"""RGO, and RGO-2 without its feature encoding."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Self

import torch
from torch import Tensor, nn

import rgo_core
import rgo_torch
from rgo_bench.clock import Clock
from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting, fitting
from rgo_bench.methods.rgo_arguments import rgo_arguments
from rgo_bench.networks import NETWORKS
from rgo_bench.streams.options import Count, Positive
from rgo_bench.team import Team
from rgo_core.cotangents import Curvature
from rgo_core.damping import split_damping
from rgo_torch.observation.score import cross_entropy_score
from rgo_torch.options.defaults import Chosen, choose
from rgo_torch.options.observing import as_observing
from rgo_torch.options.scope import Scope, find_scope
from rgo_torch.parameters.projections import scalings

# One vector a sample does not depend on the batch, so that the pass may use large ones.
SAMPLE_BATCH, SAMPLE_INPUTS = 500, 2**19
# The name that all layers' permutations are drawn by where layers share them.
SHARED: Final = "shared"
# How RGO was run for the numbers of the paper; the rest is as it is by default.
PAPER: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "damping": 0.01,
        "per": "batch",
        "biases": "normalized",
        "softmax": "present",
        "permutations": "shared",
    }
)


@dataclass(frozen=True, kw_only=True)
class RGOOptions(MethodOptions):
    """The options of `rgo_torch.RGO`, and those that only the paper's form has.

    What is None is left to RGO, which chooses it by the network and the other options.
    ``softmax="present"`` takes the probabilities in the second pass over the classes
    that the mini-batch has samples of. ``permutations="shared"`` gives all layers of
    equal width one permutation a task.
    """

    damping: Positive | None = None
    relative: Literal[True] | None = None  # to the mean of H's diagonal
    most: Positive | None = None  # alpha, where damping is relative
    per: Literal["sample", "batch"] | None = None
    reduce: Literal["mean", "rms"] | None = None
    curvature: Curvature | None = None
    biases: Literal["raw", "normalized"] | None = None
    weights: Literal["raw", "normalized"] | None = None  # normalized: to trace n
    encode: bool = True
    # Samples that the second pass sees; None: all; "enough": as many as
    # `rgo_core.enough_samples` says, which stand for all.
    observed: Count | Literal["enough"] | None = None
    # Whether those observed stand for all of the task.
    extrapolate: Literal[True] | None = None
    softmax: Literal["present"] | None = None  # None: over the task's classes
    permutations: Literal["shared"] | None = None  # None: each layer has its own

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.softmax == "present" and self.per != "batch":
            raise ValueError(
                "option 'softmax': expected null without per=batch, for one sees no "
                "mini-batches, got present"
            )
        self.chosen()  # RGO's own check, before any run has drawn its data

    def arguments(self) -> dict[str, Any]:
        """Return what they are for `rgo_torch.RGO`."""
        flat = self.as_dict()
        for name in ("observed", "extrapolate", "softmax", "permutations"):
            del flat[name]  # the rest are RGO's own
        return rgo_arguments(**flat)

    def resolved(self, network: str, samples: int) -> Self:
        """Return the options with nothing left to RGO, as it chooses for a network.

        Its absolute dampings are for all `samples` of a task: where a part is observed
        that does not stand for all, it is as much smaller.
        """
        chosen = self.chosen(_scope(network, self.encode))
        damping, relative = split_damping(chosen.damping)
        if self.damping is None and not (relative or self._stands_for_all):
            damping *= self.seen(samples, 0) / samples
        found = {**chosen.observing.bound, "damping": damping}
        found["relative"] = relative or None
        if isinstance(chosen.damping, rgo_core.Relative):
            found["most"] = chosen.damping.most
        found["weights"], found["biases"] = scalings(chosen.normalize)
        return replace(self, **found)

    def chosen(self, scope: Scope | None = None) -> Chosen:
        """Return what RGO makes of them with plain SGD, of linear layers where None."""
        given = self.arguments()
        names = ("convolves", "maps", "is_plain")
        return choose(
            (),
            as_observing(given.get("observe")),
            beside_adapters=False,
            encode=self.encode,
            project=None,
            damping=given.get("damping"),
            normalize=given.get("normalize"),
            **({name: getattr(scope, name) for name in names} if scope else {}),
        )

    def seen(self, samples: int, widest: int) -> int:
        """Return how many of a task's samples are observed.

        With ``observed="enough"`` it depends on the inputs of the widest layer.
        """
        if self.observed is None:
            return samples
        if isinstance(self.observed, str):
            return min(rgo_core.enough_samples(widest), samples)
        return min(self.observed, samples)

    def share(self, samples: int, widest: int) -> float:
        """Return what part of a task's samples those observed stand as, for all."""
        part = self.seen(samples, widest) / samples
        return part if self._stands_for_all else 1.0

    @property
    def _stands_for_all(self) -> bool:
        return bool(self.extrapolate) or self.observed == "enough"


@lru_cache
def _scope(network: str, encode: bool) -> Scope:
    """Return what RGO finds in a network, for inputs of any size."""
    return find_scope(NETWORKS[network]((3, 32, 32), 2, 0), encode, None, None)


class RGO(NetworkMethod):
    """Recursive Gradient Optimization (Liu and Liu, ICLR 2022).

    After a task a second pass over its training samples, or a part of them drawn at
    random, observes the curvature, in mini-batches of the training's size for
    ``per="batch"``. The networks say where features are encoded; the MLP, which does
    not, is encoded after every layer but the head.
    """

    options: RGOOptions
    kept = (*NetworkMethod.kept, "rgo")
    parallel: ClassVar[bool] = True

    def __init__(self, setting: Setting, options: RGOOptions) -> None:
        self._team = Team()
        if self._team.count > 1 and options.per == "batch":
            raise ValueError(
                "several processes expect per=sample, got batch: none has a whole "
                "mini-batch, whose one vector is not a sum of theirs"
            )
        super().__init__(setting, options)
        self.rgo = rgo_torch.RGO(
            self.network, self.optimizer, seed=setting.seed, **options.arguments()
        )
        if options.permutations == "shared" and self.rgo.encoder is not None:
            for encoding in self.rgo.encoder.encodings.values():
                encoding.name = SHARED

    def begin_task(self, task: int) -> None:
        """Encode for the task."""
        super().begin_task(task)
        self.rgo.begin_task(task)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Observe the task's curvature and renew the projections."""
        score = self._present_score if self.options.softmax == "present" else None
        with clock.phase("curvature"):
            moments: dict[str, Any] = self.rgo.observe(
                self._batches(x, y),
                mask=self.setting.masks[self.current],
                score=score,
                together=True,
            )
            part = self.options.share(len(x), self._widest)
            if part < 1:
                # Here and not by `whole`: of the parts of all processes together.
                moments = {n: rgo_core.extrapolate(m, part) for n, m in moments.items()}
        with clock.phase("consolidate"):
            self.rgo.consolidate(moments, together=True)

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the logits under the task's encoding."""
        with self.rgo.task(task):
            return super().predict(x, task)

    @property
    def _widest(self) -> int:
        kept = self.rgo.projector.observed.values()
        return max(p.features for p in kept if p.form != "diagonal")

    def _batches(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        # A stream draws a task's samples at random: the first are a random part.
        observed = slice(self.options.seen(len(x), self._widest))
        x, y = self._team.share(x[observed]), self._team.share(y[observed])
        size = self.setting.batch
        if self.options.per != "batch":
            size = fitting(SAMPLE_BATCH, SAMPLE_INPUTS, x.shape[1:])
        return zip(torch.split(x, size), torch.split(y, size), strict=True)

    def _present_score(self, model: nn.Module, batch: Any) -> Tensor:
        """Score a mini-batch as if there were no classes but those of its samples."""
        curvature = self.options.chosen().observing.bound["curvature"]
        present = torch.zeros(self.setting.classes, dtype=torch.bool)
        present[batch[1].cpu()] = True
        return cross_entropy_score(curvature, present)(model, batch)
