"""What DEN does with a growing network's units: find, shrink, drop, split them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rgo_bench.methods.growing import GrowingNetwork
from rgo_bench.methods.passes import Free


@torch.no_grad()
def reached(network: GrowingNetwork, task: int) -> Free:
    """Return the weights and biases on ways to a task's head that are nowhere 0.

    Returns
    -------
    sequence of (parameter, mask)
        True where the unit fed and the unit that feeds both reach the head.

    References
    ----------
    Yoon et al. (2018), algorithm 2.
    """
    found: list[tuple[nn.Parameter, Tensor | None]] = []
    live = (network.heads.heads[task][0] != 0).any(0)
    for name in reversed(network.names):
        weight = network.weights[name]
        units = live.reshape(len(weight), -1).any(1)
        fed = (weight != 0).reshape(*weight.shape[:2], -1).any(2)
        live = (fed & units[:, None]).any(0)
        mask = units[:, None] & live if name != network.names[0] else units[:, None]
        mask = mask.expand(weight.shape[:2])
        found.append((weight, mask.reshape(*mask.shape, *[1] * (weight.ndim - 2))))
        if name in network.biases:
            found.append((network.biases[name], units))
    return found


@torch.no_grad()
def shrink(free: Free, amount: float) -> None:
    """Bring what is free nearer to 0 by `amount`, and to 0 what is nearer already."""
    for parameter, mask in free:
        less = parameter.clamp(-amount, amount)
        parameter.sub_(less if mask is None else less.mul_(mask))


@torch.no_grad()
def shrink_groups(
    network: GrowingNetwork, widths: Sequence[int], amount: float
) -> None:
    """Bring the weights of each unit newer than `widths` nearer to 0, as a vector."""
    for name, units in zip(network.names, widths, strict=True):
        rows = network.weights[name][units:].flatten(1)
        norms = rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
        rows *= (1 - amount / norms).clamp(min=0)


@torch.no_grad()
def drop_empty(network: GrowingNetwork, widths: Sequence[int], task: int) -> None:
    """Drop units newer than `widths` that nothing feeds."""
    for place, (name, units) in enumerate(zip(network.names, widths, strict=True)):
        weight = network.weights[name]
        kept = weight.flatten(1).any(1)
        kept[:units] = True
        rows = torch.nonzero(kept)[:, 0]
        network.weights[name] = nn.Parameter(weight[rows])
        if name in network.biases:
            network.biases[name] = nn.Parameter(network.biases[name][rows])
        _take_columns(network, place, rows, task)
    network.stamp(task)


@torch.no_grad()
def split_drifted(
    network: GrowingNetwork,
    before: Mapping[str, Tensor],
    *,
    threshold: float,
    most: int,
    task: int,
) -> None:
    """Put units back that moved further than a threshold, and keep copies as they are.

    What a copy feeds is fed as by the unit now, what the unit fed is fed as before; a
    task's head sees the copy in the unit's place.

    Parameters
    ----------
    network : GrowingNetwork
    before : mapping of str to Tensor
        The weights by layer before the task, and biases by layer and ``.bias``.
    threshold : float
        Of the distance of a unit's weights from those before.
    most : int
        Of each layer; those that moved furthest.
    task : int
        The current one.
    """
    split = [_drifted(network, before, n, threshold, most) for n in network.names]
    for place, (name, units) in enumerate(zip(network.names, split, strict=True)):
        weight, old = network.weights[name].detach(), before[name]
        if place:
            columns = network.columns_of(place - 1, split[place - 1])
            weight = torch.cat([weight, weight[:, columns]], 1)
            weight[: len(old), columns] = old[:, columns]
        wider = torch.cat([weight, weight[units]])
        wider[units, : old.shape[1]] = old[units]
        network.weights[name] = nn.Parameter(wider)
        if name in network.biases:
            bias = network.biases[name].detach()
            longer = torch.cat([bias, bias[units]])
            longer[units] = before[f"{name}.bias"][units]
            network.biases[name] = nn.Parameter(longer)
    last = len(network.names) - 1
    columns = network.columns_of(last, split[last])
    head, bias = network.heads.heads[task]
    copied = torch.cat([head, head[:, columns]], 1)
    copied[:, columns] = 0
    network.heads.heads[task] = nn.Parameter(copied), bias
    network.stamp(task)


def _drifted(
    network: GrowingNetwork,
    before: Mapping[str, Tensor],
    name: str,
    threshold: float,
    most: int,
) -> Tensor:
    old = before[name]
    moved = network.weights[name][: len(old), : old.shape[1]] - old
    distance = moved.flatten(1).norm(dim=1)
    furthest = distance.argsort(descending=True)[:most]
    chosen: Tensor = furthest[distance[furthest] > threshold].sort().values
    return chosen


def _take_columns(
    network: GrowingNetwork, place: int, units: Tensor, task: int
) -> None:
    """Leave of what is above a layer the columns that some of its units feed."""
    columns = network.columns_of(place, units)
    if place + 1 < len(network.names):
        above = network.names[place + 1]
        network.weights[above] = nn.Parameter(network.weights[above][:, columns])
    else:
        head, bias = network.heads.heads[task]
        network.heads.heads[task] = nn.Parameter(head[:, columns]), bias
