"""A setting of a few tiny tasks, and methods at work in it."""

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rgo_bench.clock import Clock
from rgo_bench.methods import Method, Setting
from rgo_bench.methods.method import MethodOptions, NetworkMethod
from rgo_bench.methods.sgd import SGD

FEATURES, HIDDEN, CLASSES, BATCH = 6, 8, 4, 5
# Two tasks on two classes each and one head, as in a split stream.
SPLIT = (
    torch.tensor([True, True, False, False]),
    torch.tensor([False, False, True, True]),
    torch.tensor([True, True, True, True]),
)
# A task of all classes first, then two of some.
MIXED = (None, *SPLIT[:2])


def tiny_network(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    return network


def tiny_setting(masks: Sequence[Tensor | None] = (None,) * 3) -> Setting:
    return Setting(
        make_network=tiny_network,
        seed=0,
        tasks=len(masks),
        classes=CLASSES,
        lr=0.1,
        batch=BATCH,
        device=torch.device("cpu"),
        masks=tuple(masks),
    )


def samples(task: int, setting: Setting, count: int = 40) -> tuple[Tensor, Tensor]:
    """The same samples for the same task, of the classes in play in it."""
    generator = torch.Generator().manual_seed(100 + task)
    mask = setting.masks[task]
    labels = torch.arange(CLASSES) if mask is None else torch.nonzero(mask)[:, 0]
    x = torch.randn(count, FEATURES, generator=generator)
    y = labels[torch.randint(len(labels), (count,), generator=generator)]
    return x, y


def begin(method: Method, task: int) -> tuple[Tensor, Tensor]:
    """Begin a task and return its samples."""
    method.begin_task(task)
    return samples(task, method.setting)


def learn(method: Method, *tasks: int) -> None:
    """Learn tasks, a pass over each."""
    for task in tasks:
        x, y = begin(method, task)
        for batch in zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True):
            method.step(*batch)
        method.end_task(x, y, Clock(method.setting.device))


def weights(method: NetworkMethod) -> dict[str, Tensor]:
    """A copy of a method's parameters."""
    return {n: p.detach().clone() for n, p in method.network.named_parameters()}


def through_a_file(state: dict[str, Any]) -> Any:
    """What a checkpoint makes of a state."""
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(0)
    return torch.load(content, weights_only=True)


def assert_same(actual: Any, expected: Any) -> None:
    """Demand that two states agree to the last bit."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(expected, Tensor):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    elif isinstance(expected, list):
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert actual == expected


def assert_resumes(method: Method, fresh: Method) -> None:
    """Demand the same end from a method and from one resumed after task 1."""
    learn(method, 0, 1)
    fresh.load_state_dict(through_a_file(method.state_dict()))
    for each in (method, fresh):
        learn(each, 2)
    assert_same(dict(fresh.state_dict()), dict(method.state_dict()))


def beside_sgd(method: NetworkMethod) -> SGD:
    """Have a method learn task 0, and return plain SGD that has learned it too."""
    plain = SGD(method.setting, MethodOptions())
    for each in (method, plain):
        learn(each, 0)
    return plain
