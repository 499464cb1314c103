"""The table says what is projected, what is encoded and what is left alone."""

import re

import pytest
import torch
from torch import nn
from torch_backend.nets import batches, mlp, sgd

from rgo_torch import RGO, FeatureEncoding
from rgo_torch.summary import _readable


def rows(table: str) -> dict[str, list[str]]:
    return {cells[0]: cells[1:] for cells in map(str.split, table.splitlines())}


def test_every_parameter_has_its_features_outputs_and_memory() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(6, 4))
    model[2].requires_grad_(False)
    table = RGO(model, sgd(model)).summary()
    found = rows(table)
    assert table.startswith("100.0 % of the parameters are protected\n")
    assert found["parameter"] == ["n", "outputs", "kept", "encoded", "state"]
    assert found["0.weight"] == [
        "9",
        "6",
        "full",
        "yes",
        "2.8",
        "KiB",
    ]  # 3 * 81 * (8 + 4)
    assert found["0.bias"] == ["6", "1", "full", "432", "B"]
    assert found["2.weight"] == ["6", "4", "full", "432", "B"]
    assert found["2.bias"] == ["4", "1", "full", "192", "B"]
    assert "3.9 KiB of state: float64 second moments and projections" in table
    assert re.findall("frozen now: (.*)", table) == ["2.weight", "2.bias"]


def test_what_is_not_projected_is_listed_with_the_reason_and_counted() -> None:
    model = nn.Sequential(nn.Embedding(3, 8), nn.LayerNorm(8), mlp())
    table = RGO(model, sgd(model), layout={"0.weight": None}).summary()
    left = re.findall("not projected: (.*)", table)
    assert left == ["0.weight: left unprotected as asked"]
    share = 1 - 24 / sum(p.numel() for p in model.parameters())
    assert table.startswith(f"{100 * share:.1f} % of the parameters are protected\n")
    assert rows(table)["1.weight"][:3] == ["8", "1", "diagonal"]


def test_without_encoding_no_layer_is_marked() -> None:
    model = mlp()
    assert "yes" not in RGO(model, sgd(model), encode=False).summary()


class Residual(nn.Module):
    """Has a shortcut that convolves, as torchvision names it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 1)
        self.downsample = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = (self.inner(x) + self.downsample(x)).mean((-2, -1))
        logits: torch.Tensor = self.head(sums)
        return logits


def test_a_shortcut_that_is_not_named_is_warned_of_once_and_listed() -> None:
    model = Residual()
    message = "^downsample.0: judging by its name, a shortcut around a residual"
    with pytest.warns(UserWarning, match=message) as caught:
        rgo = RGO(model, sgd(model))
    assert len(caught) == 1
    assert str(caught[0].message) in rgo.summary().splitlines()
    rgo.detach()
    rgo = RGO(model, sgd(model), unencoded=["downsample.0", "head"])
    assert "shortcut" not in rgo.summary()
    rgo.detach()
    RGO(model, sgd(model), encode=False)


def test_running_statistics_that_drift_are_warned_of_and_listed() -> None:
    model = Residual()
    options = {"encode": False, "statistics": "running"}
    message = "^downsample.1: running statistics that every task moves, which no proj"
    with pytest.warns(UserWarning, match=message):
        rgo = RGO(model, sgd(model), **options)
    assert "downsample.1: running statistics that every task moves" in rgo.summary()


def test_what_no_optimizer_holds_is_not_protected_where_updates_are_projected() -> None:
    model = mlp()
    with pytest.warns(UserWarning, match="4.weight, 4.bias: held by no optimizer"):
        rgo = RGO(model, sgd(model[:4]), project="update")
    table = rgo.summary()
    assert table.startswith("83.0 % of the parameters are protected\n")  # 176 of 212
    assert "not projected: 4.bias: held by no optimizer given" in table.splitlines()


def test_a_frozen_body_that_no_optimizer_holds_does_not_count() -> None:
    model = mlp()
    model[:4].requires_grad_(False)
    optimizer = torch.optim.AdamW(model[4].parameters(), weight_decay=0)
    table = RGO(model, optimizer, encode=["4"]).summary()
    assert table.startswith("100.0 % of what is trained is protected\n")
    model = mlp()
    optimizer = torch.optim.AdamW(model[4].parameters(), weight_decay=0)
    with pytest.warns(UserWarning, match="held by no optimizer"):
        table = RGO(model, optimizer).summary()
    assert "of the parameters are protected" in table


def test_explicit_encodings_are_listed() -> None:
    model = nn.Sequential(nn.Linear(3, 4), FeatureEncoding(4), nn.Linear(4, 2))
    table = RGO(model, sgd(model)).summary()
    assert "encoded: 1 (4)" in table
    assert "yes" not in table


def test_a_tied_weight_stands_once() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    found = rows(RGO(model, sgd(model)).summary())
    assert {"0.weight", "0.bias", "1.bias"} < set(found)
    assert "1.weight" not in found


def test_memory_is_readable_at_every_size() -> None:
    sizes = (12, 12 * 2**10, 12 * 2**20, 12 * 2**30, 12 * 2**40)
    assert [_readable(size) for size in sizes] == [
        "12 B",
        "12.0 KiB",
        "12.0 MiB",
        "12.0 GiB",
        "12288.0 GiB",
    ]


def test_a_double_model_keeps_double_projections() -> None:
    model = nn.Linear(10, 1, bias=False, dtype=torch.float64)
    assert rows(RGO(model, sgd(model)).summary())["weight"][-2:] == ["1.6", "KiB"]


def test_what_is_free_is_told_once_a_task_has_ended() -> None:
    model = mlp()
    rgo = RGO(model, sgd(model), damping=0.001)
    assert " free" not in rgo.summary()
    rgo.begin_task()
    rgo.end_task(batches())
    lines = rgo.summary().splitlines()
    assert lines[1].endswith("  free")
    for line, (name, share) in zip(lines[2:], rgo.plasticity().items(), strict=False):
        assert line.split()[0] == name
        assert line.endswith(f" {100 * share:.1f} %")
        assert share < 1


def test_a_weight_without_room_is_told_with_what_to_do() -> None:
    told = {}
    for damping in (1e-9, 1e3):
        model = mlp()
        rgo = RGO(model, sgd(model), damping=damping)
        rgo.begin_task(0)
        rgo.end_task(batches(size=64))
        told[damping] = re.findall("no room: (.*?): (.*) of a step", rgo.summary())
        free = rgo.plasticity()
        assert told[damping] == [
            (name, f"{100 * free[name]:.1f} %")
            for name in free
            if name.endswith("weight") and free[name] < 0.01
        ]
        rgo.detach()
    assert told[1e-9]
    assert not told[1e3]
