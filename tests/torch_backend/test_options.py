"""RGO's options: what observes, which damping, what is protected, names of old."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch_backend.nets import assert_same, batches, mlp, sgd, train

import rgo_core
from rgo_core.damping import RELATIVE_DAMPING
from rgo_torch import RGO, GradientProjector, Relative, second_moments
from rgo_torch.options.observing import as_observing


def attached(**options: Any) -> tuple[nn.Sequential, RGO]:
    model = mlp()
    return model, RGO(model, sgd(model), seed=3, **options)


def learn(model: nn.Module, rgo: RGO, tasks: int = 2) -> None:
    for task in range(tasks):
        rgo.begin_task(task)
        train(model, rgo.projector._optimizers[0], batches(seed=task))
        rgo.end_task(batches(seed=task))


# --- what observes


def test_what_is_bound_to_second_moments_is_what_observes() -> None:
    bound = partial(second_moments, per="batch", reduce="rms")
    model, rgo = attached(observe=bound, damping=0.1)
    rgo.begin_task(0)
    assert_same(
        {k: m._asdict() for k, m in rgo.observe(batches()).items()},
        {
            k: m._asdict()
            for k, m in second_moments(
                model, batches(), per="batch", reduce="rms"
            ).items()
        },
    )


def test_a_function_of_one_s_own_observes_and_the_state_knows_its_name() -> None:
    seen = []

    def doubled(model: nn.Module, batches: Any, **options: Any) -> Any:
        seen.append(sorted(options))
        found = second_moments(model, batches, **options)
        return {name: rgo_core.extrapolate(m, 0.5) for name, m in found.items()}

    _model, rgo = attached(observe=doubled, damping=0.2)
    rgo.begin_task(0)
    rgo.end_task(batches(), samples=8)
    assert seen == [["samples", "sketch_rows"]]
    _plain_model, plain = attached(damping=0.1)
    plain.begin_task(0)
    plain.end_task(batches(), samples=8)
    for name, P in plain.projector.projections.items():
        torch.testing.assert_close(rgo.projector.projections[name], P)
    message = "the state was made with .*, observe='.*doubled'"
    with pytest.raises(ValueError, match=message):
        plain.load_state_dict(rgo.state_dict())
    with pytest.raises(
        ValueError, match=r"damping must be given for observe=.*doubled"
    ):
        attached(observe=doubled)


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        ("batch", r"observe must be a callable, such as partial\(.*, got 'batch'"),
        (
            partial(second_moments, nn.Linear(1, 1)),
            "observe must leave model, .* got a partial with the positional arguments",
        ),
        (
            partial(second_moments, max_features=3),
            r"observe must leave model, .* got a partial with \['max_features'\]",
        ),
    ],
)
def test_what_cannot_observe_is_refused(observe: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        as_observing(observe)


# --- what is protected


@pytest.mark.parametrize(
    ("protect", "names"),
    [
        (["0"], {"0.weight", "0.bias"}),
        (["2.weight", "4"], {"2.weight", "4.weight", "4.bias"}),
        ([""], {f"{i}.{own}" for i in (0, 2, 4) for own in ("weight", "bias")}),
    ],
)
def test_what_is_named_is_protected_and_the_rest_is_left(
    protect: list[str], names: set[str]
) -> None:
    model, rgo = attached(protect=protect)
    assert set(rgo.projector.parameters) == names
    left = {name for name, _ in model.named_parameters()} - names
    assert {skipped.name for skipped in rgo.projector.skipped} == left


def test_a_module_of_the_model_is_named_by_itself() -> None:
    model = mlp()
    rgo = RGO(model, sgd(model), protect=[model[2]])
    assert set(rgo.projector.parameters) == {"2.weight", "2.bias"}


@pytest.mark.parametrize(
    ("protect", "error", "message"),
    [
        ("0", TypeError, "protect must be a list of names or modules, got '0'"),
        ([3], TypeError, "protect must be names or modules, got 3"),
        (["7"], ValueError, "protect must name parts of the model .*, got '7'"),
        (["1"], ValueError, "protect must name parts of the model .*, got '1'"),
        ([nn.Linear(2, 2)], ValueError, "parts of the model .*, got Linear"),
    ],
)
def test_what_is_not_of_the_model_cannot_be_protected(
    protect: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        attached(protect=protect)


# --- what a reader sees


def test_plasticity_is_the_free_share_of_a_step() -> None:
    model, rgo = attached()
    assert set(rgo.plasticity().values()) == {1.0}
    learn(model, rgo)
    found = rgo.plasticity()
    assert list(found) == [name for name, _ in model.named_parameters()]
    for name, moment in rgo.projector.moments.items():
        H = moment.matrix
        Q = torch.linalg.inv(torch.eye(len(H), dtype=H.dtype) + H / rgo.damping)
        expected = float(Q.trace()) / len(H)
        assert found[name] == pytest.approx(expected, rel=1e-5)
        assert 0 < expected < 0.999


def test_repr_and_the_current_task_say_where_it_is() -> None:
    _model, rgo = attached(damping=0.25)
    assert (rgo.current, rgo.finished) == (None, 0)
    assert repr(rgo) == (
        "RGO(Sequential, 100.0 % protected, project='gradient', damping=0.25, "
        "0 tasks finished, between tasks)"
    )
    rgo.begin_task()
    assert rgo.current == 0
    assert repr(rgo).endswith("0 tasks finished, in task 0)")
    rgo.end_task(batches())
    assert (rgo.current, rgo.finished) == (None, 1)


# --- names of old


def old_and_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Check that both give the same, and that the old name warns where it is used."""
    with pytest.warns(
        DeprecationWarning, match=", and goes in the next release"
    ) as found:
        model, rgo = attached(**old)
    assert {warning.filename for warning in found} == {__file__}
    assert len(found) == len(set(old) - {"damping"})
    other_model, other = attached(**new)
    learn(model, rgo)
    learn(other_model, other)
    assert_same(rgo.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"relative": True}, {"damping": RELATIVE_DAMPING}),
        ({"relative": True, "damping": 0.1}, {"damping": Relative(0.1)}),
        ({"per": "batch"}, {"observe": partial(second_moments, per="batch")}),
        (
            {"reduce": "rms", "curvature": "exact"},
            {"observe": partial(second_moments, reduce="rms", curvature="exact")},
        ),
        ({"biases": "normalized"}, {"normalize": "all"}),
        ({"biases": "raw"}, {}),
        ({"exclude": ["2", "4"]}, {"unencoded": ["2", "4"]}),
    ],
)
def test_an_option_by_its_old_name_warns_and_does_the_same(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    old_and_new(old, new)


def test_an_option_by_both_names_or_by_none_is_refused() -> None:
    message = "per is the old name of observe: give the new one alone"
    with pytest.raises(TypeError, match=message):
        attached(per="batch", observe=second_moments)
    with pytest.raises(TypeError, match="RGO has no option 'dampening'"):
        attached(dampening=0.1)
    with pytest.raises(ValueError, match="biases must be 'raw' or 'normalized'"):
        attached(biases="free")
    model = mlp()
    message = "biases is the old name of normalize: give the new one alone"
    with pytest.raises(TypeError, match=message):
        GradientProjector(model, sgd(model), biases="raw", normalize="all")


def warned(call: Callable[[], Any], name: str) -> Any:
    message = re.escape(f"{name}= is now ")
    with pytest.warns(DeprecationWarning, match=message) as found:
        result = call()
    assert [warning.filename for warning in found] == [__file__]
    return result


def test_old_names_of_projector_and_core_warn_where_they_are_used() -> None:
    model = mlp()
    projector = warned(
        lambda: GradientProjector(model, sgd(model), biases="normalized"), "biases"
    )
    assert projector.normalize == "all"
    moments = second_moments(model, batches())
    warned(
        lambda: projector.consolidate(moments, damping=0.1, relative=True), "relative"
    )
    P = projector.projections["0.weight"]
    moment = moments["0.weight"]
    core = warned(lambda: rgo_core.consolidate(moment, 0.1, relative=True), "relative")
    assert torch.equal(P, core.float())
    assert torch.equal(core, rgo_core.consolidate(moment, Relative(0.1)))


def test_a_relative_damping_and_the_old_flag_do_not_go_together() -> None:
    message = r"give Relative\(share=0.1\) alone, without it"
    with pytest.raises(TypeError, match=message):
        attached(damping=Relative(0.1), relative=False)
    moment = second_moments(mlp(), batches())["0.weight"]
    with pytest.raises(TypeError, match=message):
        rgo_core.consolidate(moment, Relative(0.1), relative=True)
