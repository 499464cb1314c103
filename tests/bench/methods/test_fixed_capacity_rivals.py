"""SGP, TRGP and Adam-NSCL: what each must do, and a case by hand."""

import copy
from typing import Any

import pytest
import torch
from bench.small_settings import (
    FEATURES,
    SPLIT,
    assert_resumes,
    begin,
    learn,
    samples,
    tiny_setting,
    weights,
)
from torch import Tensor, nn
from torch.func import functional_call

from rgo_bench.clock import Clock
from rgo_bench.methods.adam_nscl import AdamNSCL, AdamNSCLOptions, null_space
from rgo_bench.methods.gpm import GPM, SGP, GPMOptions, SGPOptions, scaled_importance
from rgo_bench.methods.representations import strongest
from rgo_bench.methods.trgp import TRGP, TRGPOptions

SETTING = tiny_setting()
FAST = AdamNSCLOptions(first_lr=0.01, later_lr=0.01)


def flat_samples(method: Any, task: int) -> Tensor:
    """Inputs of a task that lie in three dimensions of six."""
    x, _ = samples(task, method.setting)
    x[:, 3:] = 0
    return x


def learn_flat(method: Any, task: int) -> None:
    _, y = begin(method, task)
    x = flat_samples(method, task)
    for batch in zip(x.split(5), y.split(5), strict=True):
        method.step(*batch)
    method.end_task(x, y, Clock(SETTING.device))


def test_importance_is_one_for_the_longest_and_grows_with_the_scale() -> None:
    lengths = torch.tensor([0.0, 1.0, 2.0, 4.0])
    # (alpha + 1) s / (alpha s + 4) with alpha = 4.
    expected = torch.tensor([0.0, 5 / 8, 10 / 12, 1.0])
    torch.testing.assert_close(scaled_importance(lengths, 4.0), expected)
    assert not scaled_importance(torch.zeros(2), 4.0).any()
    assert not len(scaled_importance(torch.zeros(0), 4.0))


def test_sgp_takes_from_a_gradient_what_the_importances_say() -> None:
    method = SGP(SETTING, SGPOptions(scale=2.0))
    learn(method, 0)
    M, importance = method.bases["0"], method.importances["0"]
    rows = samples(0, SETTING)[0].double()
    along = torch.tensor([float((rows @ m).norm()) for m in M.T], dtype=rows.dtype)
    torch.testing.assert_close(importance, 3 * along / (2 * along + along.max()))
    x, y = begin(method, 1)
    before = weights(method)["0.weight"]
    plain = GPM(SETTING, GPMOptions())
    plain.network.load_state_dict(method.network.state_dict())
    plain.step(x, y)  # GPM's projections are open yet
    free = (weights(plain)["0.weight"] - before).double()
    method.step(x, y)
    change = (weights(method)["0.weight"] - before).double()
    expected = free - free @ (M @ torch.diag(importance) @ M.T)
    torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-6)


def test_importances_add_up_to_one_at_most() -> None:
    method = SGP(SETTING, SGPOptions(threshold_first=1.0, threshold=1.0))
    learn(method, 0)
    first = method.importances["0"]
    learn(method, 1)
    assert (method.importances["0"][: len(first)] >= first).all()
    assert float(method.importances["0"].max()) == 1
    assert SGP(SETTING, SGPOptions()).kept_bytes() < method.kept_bytes()


def test_trgp_moves_no_weight_within_an_earlier_subspace() -> None:
    method = TRGP(tiny_setting(SPLIT), TRGPOptions(related=1e-6))
    learn(method, 0)
    basis, before = method.bases["0"], weights(method)["0.weight"]
    learn(method, 1, 2)
    change = weights(method)["0.weight"] - before
    assert float((change @ basis).norm()) < 1e-5 * float(before.norm())
    assert method.scales[2]["0"].keys() == {1}


def test_trgp_scales_the_weights_of_a_related_task_by_hand() -> None:
    method = TRGP(SETTING, TRGPOptions(related=1e-6, threshold_first=1.0))
    learn(method, 0, 1)
    B, Q = method.spaces[0]["0"], method.scales[1]["0"][0]
    assert (Q - torch.eye(len(Q))).abs().max() > 0
    first, bias, last, end = (p.detach() for p in method.network.parameters())
    scaled = first + first @ B @ Q @ B.T - first @ B @ B.T
    head = method.scales[1].get("2", {})
    top = last
    for task, each in head.items():
        space = method.spaces[task]["2"]
        top = top + last @ space @ (each - torch.eye(len(each))) @ space.T
    x = samples(1, SETTING)[0]
    expected = torch.relu(x @ scaled.T + bias) @ top.T + end
    torch.testing.assert_close(method.predict(x, 1), expected, rtol=1e-4, atol=1e-5)
    plain = torch.relu(x @ first.T + bias) @ last.T + end
    torch.testing.assert_close(method.predict(x, 0), plain)


def test_trgp_scales_convolutions_as_linear_layers() -> None:
    """Both are the network with the weights ``W (I + sum B (Q - I) B^T)``."""
    network = nn.Sequential(
        nn.Conv2d(1, 3, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    )
    x, y = torch.randn(20, 1, 3, 3), torch.arange(20) % 4
    setting = SETTING._replace(make_network=lambda seed: copy.deepcopy(network))
    method = TRGP(setting, TRGPOptions(related=1e-6))
    for task in range(2):
        method.begin_task(task)
        for _ in range(3):
            method.step(x, y)
        method.end_task(x, y, Clock(setting.device))
    scales = method.scales[1]
    assert (scales["0"][0] - torch.eye(len(scales["0"][0]))).abs().max() > 0
    weights = {}
    for name in ("0", "3"):
        weight = method.network.get_submodule(name).weight.detach()
        B, Q = method.spaces[0][name], scales[name][0]
        A = torch.eye(len(B)) + B @ (Q - torch.eye(len(Q))) @ B.T
        weights[f"{name}.weight"] = (weight.flatten(1) @ A).reshape(weight.shape)
    expected = functional_call(method.network, weights, (x,))
    torch.testing.assert_close(method.predict(x, 1), expected, rtol=1e-4, atol=1e-5)


def test_trgp_reuses_no_task_that_is_not_related() -> None:
    method = TRGP(SETTING, TRGPOptions(related=2.0))
    learn(method, 0, 1)
    assert method.scales[1] == {"0": {}, "2": {}}


def test_the_strongest_directions_come_first() -> None:
    columns = torch.diag(torch.tensor([1.0, 3.0, 2.0]))
    found = strongest(torch.eye(3), columns, 0.9)
    assert torch.equal(found, torch.eye(3)[:, [1, 2]])


def test_a_null_space_is_that_of_the_least_eigenvalues() -> None:
    V = null_space(torch.diag(torch.tensor([1.0, 100.0, 8.0]).double()), 10.0)
    assert torch.equal((V @ V.T).diagonal(), torch.tensor([1.0, 0, 1]).double())
    exact = null_space(torch.diag(torch.tensor([0.0, 5.0, 0.0]).double()), 10.0)
    assert exact.shape == (3, 2)


def test_adam_nscl_leaves_the_outputs_of_earlier_inputs_as_they_were() -> None:
    method = AdamNSCL(SETTING, FAST)
    learn_flat(method, 0)
    before = weights(method)["0.weight"]
    learn(method, 1)
    change = weights(method)["0.weight"] - before
    assert float((flat_samples(method, 0) @ change.T).norm()) < 1e-5
    assert float(change.norm()) > 1e-3


def test_adam_nscl_keeps_weights_and_covariances_and_no_moments() -> None:
    method = AdamNSCL(SETTING, AdamNSCLOptions())
    learn(method, 0)
    hidden = method.covariances["2"].shape[0]
    own = sum(p.numel() for p in method.network.parameters()) * 4
    assert method.kept_bytes() == own + 8 * (FEATURES**2 + hidden**2)


def test_groups_are_refused_by_adam_nscl() -> None:
    grouped = nn.Sequential(nn.Conv2d(2, 4, 2, groups=2), nn.Flatten(), nn.Linear(4, 4))
    setting = SETTING._replace(make_network=lambda seed: grouped)
    with pytest.raises(ValueError, match="adam-nscl: expected no grouped"):
        AdamNSCL(setting, AdamNSCLOptions())


@pytest.mark.parametrize(
    ("make", "option"),
    [(SGPOptions, "scale"), (TRGPOptions, "related"), (AdamNSCLOptions, "ratio")],
)
def test_options_without_meaning_are_refused(make: Any, option: str) -> None:
    with pytest.raises(ValueError, match=f"option '{option}': expected a positive"):
        make(**{option: 0.0})


@pytest.mark.parametrize(
    ("make", "options"),
    [(SGP, SGPOptions()), (TRGP, TRGPOptions()), (AdamNSCL, FAST)],
)
def test_resumed_runs_end_with_the_same_weights(make: Any, options: Any) -> None:
    assert_resumes(make(SETTING, options), make(SETTING, options))
