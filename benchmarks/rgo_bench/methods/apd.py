"""APD: shared parameters under each task's mask, and its own sparse ones."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods.apd_parts import Parts, Sparse
from rgo_bench.methods.method import Method, MethodOptions, Setting
from rgo_bench.methods.task_heads import TaskHeads
from rgo_bench.streams.options import Count, Positive
from rgo_torch.layout import row_layers

CACHED = 2**16  # numbers of a layer that are gone through for all tasks at a time


@dataclass(frozen=True, kw_only=True)
class APDOptions(MethodOptions):
    """The options of `APD`, as the authors' program for CIFAR-100 sets them."""

    step_size: Positive = 0.001  # Adam's
    sparsity: Positive = 4e-4  # lambda_1, of |tau|; smaller entries are dropped
    drift: Positive = 100.0  # lambda_2, of |theta - theta*|^2 / 2 of earlier tasks
    # Of |tau|^2 / 2 and |v|^2 / 2, and of |sigma|^2 / 2 at first.
    decay: Positive = 1e-4
    every: Count = 5  # tasks after which all tau are clustered
    clusters: Count = 2  # groups at first, as many more with each later clustering
    gap: Positive = 0.01  # beta: entries of a group that differ by no more are shared

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clusters > self.every:
            raise ValueError(
                f"option 'clusters': expected at most the {self.every} tasks that are "
                f"clustered first (option 'every'), got {self.clusters}"
            )


class APD(Method):
    """Additive Parameter Decomposition (Yoon, Kim, Yang and Hwang, ICLR 2020).

    A task's weights are ``theta_t = sigma * sigmoid(v_t) + tau_t``: sigma is shared,
    v_t one number for each output, tau_t sparse. Biases and the head are the task's
    own. A step goes down the loss with ``lambda_1 sum_i |tau_i| + lambda_2 sum_(i<t)
    |theta_i - theta_i*|^2 / 2``, theta_i* being the weights that task i had before:
    what changes in sigma comes back in tau_i (retroactive consolidation). Every few
    tasks the tau_i of each layer are clustered by k-means; entries in which a group
    agrees become locally shared (hierarchical consolidation).

    Adam learns sigma, v_t, tau_t, biases and head. Given sigma, the best tau_i of an
    earlier task is ``S(theta_i* - sigma m_i, lambda_1 / lambda_2)``, S the soft
    threshold, and sigma feels a pull of at most lambda_1 from it: here tau_i is always
    that, where the authors' program takes steps of Adam on it too. Their learning rate
    falls by 5 percent an epoch, and they keep the best of the last five epochs; ours
    stays, and the last step counts. Entries of any tau up to lambda_1 are dropped: for
    good, where their program drops them in tests, and keeps them.

    References
    ----------
    Yoon, Kim, Yang and Hwang, "Scalable and Order-robust Continual Learning with
    Additive Parameter Decomposition", ICLR 2020, equations 2 to 4, algorithm 1.
    """

    options: APDOptions
    kept = ("parts", "heads", "generator")

    def __init__(self, setting: Setting, options: APDOptions) -> None:
        super().__init__(setting, options)
        self.network = setting.make_network(setting.seed)
        self.size = sum(p.numel() for p in self.network.parameters())
        *layers, self.head = row_layers(self.network)
        self.parts = Parts({layer.name: layer.weight for layer in layers})
        self._first_biases = {
            x.name: x.bias.detach() for x in layers if x.bias is not None
        }
        self.heads = TaskHeads(setting)
        self.generator = torch.Generator().manual_seed(setting.seed)
        self.tau: dict[str, nn.Parameter] = {}  # of the current task, while it learns
        # theta* of earlier tasks, less what is locally shared.
        self.ends: dict[int, dict[str, Tensor]] = {}

    def begin_task(self, task: int) -> None:
        """Draw the task's mask and head; its tau starts as sigma."""
        super().begin_task(task)
        parts = self.parts
        self.ends = {t: parts.unshared(t) for t in parts.own}
        self.tau = {
            n: nn.Parameter(s.detach().clone()) for n, s in parts.shared.items()
        }
        parts.masks[task] = {n: self._mask(len(s)) for n, s in parts.shared.items()}
        parts.biases[task] = {
            n: nn.Parameter(b.clone()) for n, b in self._first_biases.items()
        }
        head = self.heads.add(task, self.head.features, self.generator)
        learned = (parts.shared, self.tau, parts.masks[task], parts.biases[task])
        self.optimizer = torch.optim.Adam(
            [p for each in learned for p in each.values()] + list(head),
            lr=self.options.step_size,
            fused=True,
        )

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take a step of Adam on the loss, the sparsity and earlier tasks' drift."""
        self.optimizer.zero_grad()
        functional.cross_entropy(self._logits(x, self.current), y).backward()
        self._regularize()
        self._pull()
        self.optimizer.step()

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Let earlier tau take up what sigma changed; cluster all now and then."""
        parts, options = self.parts, self.options
        with clock.phase("consolidate"), torch.no_grad():
            least = options.sparsity / options.drift
            for task, ends in self.ends.items():
                for name, end in ends.items():
                    # What tau would have to be for an earlier task's weights to stay.
                    lacking = end - parts.masked(task, name)
                    best = functional.softshrink(lacking, least)
                    parts.own[task][name] = self._pruned(best)
            parts.own[self.current] = {
                name: self._pruned(tau) for name, tau in self.tau.items()
            }
            self.tau, self.ends = {}, {}
            rounds, rest = divmod(len(parts.own), options.every)
            if not rest:
                parts.cluster(rounds * options.clusters, options.gap, self.setting.seed)

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the logits of the task's weights, biases and head."""
        with torch.no_grad():
            return self._logits(x, task)

    def capacity(self) -> float:
        """Return what is not zero in all parts and heads, in percent of one network.

        As the authors' program counts: masks, biases and heads too.
        """
        heads = sum(w.numel() + b.numel() for w, b in self.heads.heads.values())
        return 100 * (self.parts.entries() + heads) / self.size

    def _mask(self, outputs: int) -> nn.Parameter:
        # Of variance 1 / m, as theirs.
        drawn = torch.randn(outputs, generator=self.generator) * outputs**-0.5
        return nn.Parameter(drawn.to(self.setting.device))

    def _logits(self, x: Tensor, task: int) -> Tensor:
        parts = self.parts
        if task == self.current and self.tau:  # it is being learned
            weights = {n: parts.masked(task, n) + tau for n, tau in self.tau.items()}
        else:
            weights = parts.weights(task)
        head, bias = self.heads.heads[task]
        biases = parts.biases[task] | {self.head.name: bias}
        values = {f"{name}.bias": b for name, b in biases.items()}
        weights = weights | {self.head.name: head}
        values |= {f"{name}.weight": theta for name, theta in weights.items()}
        own: Tensor = functional_call(self.network, values, (x,))
        return self.heads.spread(own, task)

    def _pruned(self, tau: Tensor) -> Sparse:
        return Sparse.of(tau * (tau.abs() > self.options.sparsity))

    @torch.no_grad()
    def _regularize(self) -> None:
        """Add the gradients of tau's sparsity and of the decay."""
        options, masks = self.options, self.parts.masks[self.current]
        for tau in self.tau.values():
            assert tau.grad is not None  # the logits depend on it
            tau.grad.add_(tau.sign(), alpha=options.sparsity)
        shared = () if self.ends else self.parts.shared.values()
        for decaying in (*self.tau.values(), *masks.values(), *shared):
            assert decaying.grad is not None
            decaying.grad.add_(decaying, alpha=options.decay)

    @torch.no_grad()
    def _pull(self) -> None:
        """Add to sigma's gradient that of earlier tasks' drift at their best tau.

        It is ``-m clamp(lambda_2 (theta* - sigma m), -lambda_1, lambda_1)`` for each.
        """
        options = self.options
        most = options.sparsity / options.drift
        for name, sigma in self.parts.shared.items():
            assert sigma.grad is not None  # the logits depend on it
            rows = max(1, CACHED // sigma[0].numel())
            opened = {t: self.parts.openness(t, name) for t in self.ends}
            for start in range(0, len(sigma), rows):
                part = slice(start, start + rows)
                values, gradient = sigma[part], sigma.grad[part]
                for task, ends in self.ends.items():
                    m = opened[task][part]
                    lacking = torch.addcmul(ends[name][part], values, m, value=-1)
                    lacking.clamp_(-most, most)
                    gradient.addcmul_(lacking, m, value=-options.drift)
