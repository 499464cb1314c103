"""RGO for loops with Hugging Face's accelerate."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from rgo_torch.integrations._continued import Continued
from rgo_torch.observation.sampling import Samples
from rgo_torch.observation.score import Score

try:
    import accelerate  # noqa: F401
except ImportError as error:
    raise ImportError(
        "rgo_torch.integrations.accelerated needs accelerate: pip install accelerate"
    ) from error


class AcceleratedRGO(Continued):
    """RGO for what ``accelerator.prepare`` returns.

    The verbs are those of `rgo_torch.RGO`. It is attached to the optimizer that
    accelerate wraps, which does not step while gradients accumulate; at the end of a
    task the second moments of all processes are merged.

    Parameters
    ----------
    model : nn.Module
    optimizer : torch.optim.Optimizer
        Both as prepared.
    **options
        Those of `rgo_torch.RGO`.

    Raises
    ------
    TypeError
        If an option is none of RGO's, or the optimizer is not one of torch.optim's
        kind, wrapped or not.
    ValueError
        As `rgo_torch.RGO` does.

    Notes
    -----
    DeepSpeed and FSDP's first version, which cut up weights, are refused. Its second is
    `fully_shard`, which RGO serves; accelerate has it on GPUs, where it was not tried.

    ``accelerator.register_for_checkpointing`` takes it.

    Examples
    --------
    >>> import torch
    >>> from accelerate import Accelerator
    >>> from rgo_torch.integrations.accelerated import AcceleratedRGO
    >>> accelerator = Accelerator(cpu=True)
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> model, optimizer = accelerator.prepare(model, optimizer)
    >>> rgo = AcceleratedRGO(model, optimizer, seed=0)
    >>> for task in range(2):
    ...     x, y = torch.randn(8, 3), torch.randint(2, (8,))
    ...     rgo.begin_task(task)
    ...     accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
    ...     optimizer.step()
    ...     rgo.end_task([(x, y)])
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, **options: Any) -> None:
        super().__init__(options)
        self.attach(model, optimizer)

    def begin_task(self, task: int | None = None) -> None:
        """Begin the next task, as `rgo_torch.RGO.begin_task` does."""
        self.rgo.begin_task(task)

    def end_task(
        self,
        batches: Iterable[Any],
        *,
        mask: Tensor | None = None,
        score: Score | None = None,
        samples: Samples | None = None,
        whole: int | None = None,
    ) -> None:
        """End the task as `rgo_torch.RGO.end_task` does, with all processes' batches.

        To be called in every process.
        """
        self.rgo.end_task(batches, mask=mask, score=score, samples=samples, whole=whole)
