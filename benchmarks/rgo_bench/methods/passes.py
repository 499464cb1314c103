"""Training when a task ends, for methods that go through it several times."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Free = Sequence[tuple[nn.Parameter, Tensor | None]]  # what of a parameter may change


def mini_batches(
    x: Tensor, y: Tensor, *, size: int, steps: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return so many mini-batches, each pass in an order of its own."""
    while steps > 0:
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for rows in torch.split(order, size)[:steps]:
            yield x[rows], y[rows]
        steps -= -(-len(x) // size)


def train(
    logits: Callable[[Tensor], Tensor],
    batches: Iterator[tuple[Tensor, Tensor]],
    free: Free,
    *,
    lr: float,
    pull: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> float:
    """Take a step of Adam on each mini-batch's cross-entropy.

    Parameters
    ----------
    logits : callable
        From inputs to logits.
    batches : iterator of (inputs, labels)
    free : sequence of (parameter, mask)
        What is trained: the entries that are True, all where None. The others keep
        their values to the bit.
    lr : float
    pull : callable
        Adds to the gradients, where they are not None, those of penalties.
    after : callable
        Called after every step.

    Returns
    -------
    float
        The mean cross-entropy over the last tenth of the steps; NaN of none.
    """
    trained = [parameter for parameter, _ in free]
    optimizer = torch.optim.Adam(trained, lr=lr, fused=True)
    losses: list[Tensor] = []
    for x, y in batches:
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits(x), y)
        loss.backward(inputs=trained)
        pull()
        for parameter, mask in free:
            # Adam leaves entries whose gradients were always 0 where they are.
            if mask is not None and parameter.grad is not None:
                parameter.grad *= mask
        optimizer.step()
        after()
        losses.append(loss.detach())
    last = losses[-max(1, len(losses) // 10) :]
    return float(torch.stack(last).mean()) if last else float("nan")


@torch.no_grad()
def percent_right(logits: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Return the accuracy in percent, a part of the samples at a time."""
    right = sum(
        int((logits(a).argmax(-1) == b).sum())
        for a, b in zip(torch.split(x, 500), torch.split(y, 500), strict=True)
    )
    return 100 * right / len(y)
