"""Tasks begin, end and come back; whatever fails changes nothing."""

import copy
import io
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.nets import (
    CLASSES,
    assert_same,
    batch,
    batches,
    hooks_of,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
)
from torch_backend.oracle import NumpyMLP
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_core import Relative
from rgo_core.damping import UPDATE_DAMPING, Damping
from rgo_torch import RGO, measured_damping, second_moments

STEPS = 50


def learner(seed: int = 0, **options: object) -> tuple[nn.Sequential, RGO]:
    """Return an MLP with SGD and RGO; the optimizer is at `rgo.optimizer`."""
    model = mlp(seed)
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, **options)
    rgo.optimizer = optimizer
    return model, rgo


def learn(model: nn.Module, rgo: RGO, task: int) -> None:
    rgo.begin_task(task)
    train(model, rgo.optimizer, batches(seed=task))
    rgo.end_task(batches(seed=task))


@pytest.mark.parametrize("size", [2, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fifty_projected_steps_equal_numpy(dtype: torch.dtype, size: int) -> None:
    seed, damping = 5, 0.05
    model = mlp().to(dtype)
    plain, optimizer = NumpyMLP(model), sgd(model)
    rgo = RGO(model, optimizer, seed=seed, damping=damping)
    for task in range(3):
        rgo.begin_task(task)
        plain.encode(task, seed)
        steps = [(x.to(dtype), y) for x, y in batches(STEPS, size=size, seed=task)]
        train(model, optimizer, steps)
        for x, y in steps:
            plain.step(x.double().numpy(), y.numpy(), rate=0.1)
        x, y = (torch.cat(parts) for parts in zip(*steps[:5], strict=True))
        rgo.end_task([(x, y)])
        plain.consolidate(x.double().numpy(), y.numpy(), damping)
    found = weights_of(model)
    for name, expected in plain.parameters().items():
        assert_near(found[name], torch.from_numpy(expected), amplification=STEPS)
    for name, expected in plain.projections.items():
        P = rgo.projector.projections[name]
        condition = float(torch.linalg.cond(P.double()))
        assert_near(P, torch.from_numpy(expected), amplification=condition)


def test_without_a_second_task_training_is_plain_to_the_bit() -> None:
    model, rgo = learner()
    plain = mlp()
    rgo.begin_task(0)
    train(model, rgo.optimizer, batches(STEPS))
    train(plain, sgd(plain), batches(STEPS))
    assert_same(weights_of(model), weights_of(plain))


def test_a_later_task_forgets_less_than_without() -> None:
    x, y = (torch.cat(parts) for parts in zip(*batches(STEPS), strict=True))

    def forgotten(protected: bool) -> float:
        model, rgo = learner(damping=1e-4, encode=False)
        rgo.begin_task()
        train(model, rgo.optimizer, batches(STEPS))
        rgo.end_task(batches(STEPS))
        before = loss_of(model, x, y).item()
        with nullcontext() if protected else rgo.projector.paused():
            train(model, rgo.optimizer, batches(STEPS, seed=1))
        return loss_of(model, x, y).item() - before

    assert forgotten(protected=True) < 0.5 * forgotten(protected=False)


def test_every_task_comes_back_with_its_own_encoding() -> None:
    model, rgo = learner(seed=3)
    x, seen = batch()[0], []
    for _ in range(3):
        rgo.begin_task()
        seen.append(model(x))
        with rgo.task(np.int64(0)):
            assert torch.equal(model(x), seen[0])
        assert torch.equal(model(x), seen[-1])
        rgo.end_task(batches())
    assert not torch.equal(seen[0], seen[1])
    for task, expected in enumerate(seen):
        with rgo.task(task):
            assert torch.equal(model(x), expected)
    assert torch.equal(model(x), seen[-1])


def test_the_curvature_is_observed_in_the_encoding_of_the_task() -> None:
    found = []
    for inside in (False, True):
        model, rgo = learner()
        learn(model, rgo, 0)
        rgo.begin_task(1)
        if inside:
            with rgo.task(0):
                moments = rgo.observe(batches())
                assert rgo.encoder.task_index == 0
        else:
            moments = rgo.observe(batches())
        found.append(moments["2.weight"].matrix)
    assert torch.equal(*found)


def test_without_encoding_tasks_share_one_model() -> None:
    model, rgo = learner(encode=False)
    x = batch()[0]
    learn(model, rgo, 0)
    rgo.begin_task(1)
    with rgo.task(0):
        first = model(x)
    assert torch.equal(first, model(x))
    assert rgo.encoder is None


def test_observing_and_consolidating_are_the_two_halves_of_end_task() -> None:
    whole_model, whole = learner()
    model, rgo = learner()
    for candidate in (whole, rgo):
        candidate.begin_task(0)
    before = copy.deepcopy(rgo.state_dict())
    whole.end_task(batches())
    moments = rgo.observe(batches())
    assert_same(rgo.state_dict(), before)
    rgo.consolidate(moments)
    assert_same(rgo.state_dict(), whole.state_dict())
    assert_same(weights_of(model), weights_of(whole_model))


@pytest.mark.parametrize(
    "options",
    [{"per": "batch"}, {"reduce": "rms"}, {"curvature": "exact"}],
)
def test_options_reach_the_curvature_pass(options: dict[str, str]) -> None:
    model, rgo = learner(observe=partial(second_moments, **options))
    rgo.begin_task()
    found = rgo.observe(batches())
    expected = second_moments(model, batches(), **options)
    plain = second_moments(model, batches())
    assert torch.equal(found["2.weight"].matrix, expected["2.weight"].matrix)
    assert not torch.equal(found["2.weight"].matrix, plain["2.weight"].matrix)


def test_mask_and_score_reach_the_curvature_pass() -> None:
    model, rgo = learner()
    rgo.begin_task()
    data = [(x, y % 2) for x, y in batches()]
    mask = torch.tensor([True, True, False, False])
    expected = second_moments(model, data, mask=mask)
    rgo.end_task(data, mask=mask)
    assert_same(rgo.projector.moments["0.weight"], expected["0.weight"])

    def score(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).sum(-1)

    model, rgo = learner()
    rgo.begin_task()
    expected = second_moments(model, [batch()[0]], score=score)
    rgo.end_task([batch()[0]], score=score)
    assert_same(rgo.projector.moments["0.weight"], expected["0.weight"])


def test_damping_reaches_the_projection_and_project_the_projector() -> None:
    _, rgo = learner(damping=1e12)
    rgo.begin_task()
    rgo.end_task(batches())
    assert_near(rgo.projector.projections["0.weight"], torch.eye(12))
    assert learner(project="update")[1].projector.project == "update"
    assert list(learner(unencoded=["0"])[1].encoder.widths) == ["2", "4"]


def test_tasks_begin_and_end_in_order() -> None:
    _, rgo = learner()
    message = re.escape("no task to observe: call begin_task(0) first")
    with pytest.raises(RuntimeError, match=message):
        rgo.end_task(batches())
    with pytest.raises(RuntimeError, match="no task to consolidate"):
        rgo.consolidate({})
    with pytest.raises(ValueError, match="the next task is 0, got 1; to evaluate"):
        rgo.begin_task(1)
    with pytest.raises(ValueError, match="no task was begun yet, got 0"), rgo.task(0):
        pass
    rgo.begin_task(0)
    with pytest.raises(ValueError, match="is 0, which has not ended yet, got 1"):
        rgo.begin_task(1)
    rgo.end_task(batches())
    with pytest.raises(ValueError, match="the next task is 1, got 0"):
        rgo.begin_task(0)
    with pytest.raises(RuntimeError, match=r"call begin_task\(1\) first"):
        rgo.end_task(batches())


@pytest.mark.parametrize("task", [2, -1, 0.0, "0", None])
def test_a_task_that_was_never_begun_does_not_come_back(task: object) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    message = re.escape(f"task must be one that was begun, 0..1, got {task!r}")
    with pytest.raises(ValueError, match=message), rgo.task(task):
        pass
    assert rgo.encoder.task_index == 1


def test_an_open_task_may_begin_again() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    before = copy.deepcopy(rgo.state_dict())
    rgo.begin_task(1)
    rgo.begin_task(1)
    rgo.begin_task()
    rgo.end_task(batches())
    assert rgo.state_dict()["finished"] == before["finished"] + 1


def nan_weights(model: nn.Module) -> list:
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    return batches()


def nan_inputs(model: nn.Module) -> list:
    x, y = batch()
    return [batch(seed=1), (x * torch.nan, y)]


def labels(value: int) -> Callable[[nn.Module], list]:
    return lambda model: [batch(), (batch()[0], torch.full((16,), value))]


def interrupted(model: nn.Module) -> object:
    yield batch()
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (nan_inputs, ValueError, "logits must be numbers, got NaN"),
        (nan_weights, ValueError, "logits must be numbers, got NaN"),
        (labels(CLASSES), ValueError, "labels must lie in 0..3"),
        (labels(-1), ValueError, "labels must lie in 0..3"),
        (lambda model: [], ValueError, "at least one batch, got none"),
        (lambda model: [batch(), batch()[0]], TypeError, "a batch must be a pair"),
        (interrupted, OSError, "the disk is gone"),
    ],
)
def test_a_task_that_fails_to_end_is_still_open_and_nothing_changed(
    data: Callable, error: type[Exception], message: str
) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    before = copy.deepcopy(rgo.state_dict())
    weights = weights_of(model)
    given = data(model)
    model.train()
    with pytest.raises(error, match=message):
        rgo.end_task(given)
    assert_same(rgo.state_dict(), before)
    assert all(module.training for module in model.modules())
    if data is not nan_weights:
        assert_same(weights_of(model), weights)
    model.load_state_dict(weights)
    rgo.end_task(batches())
    assert rgo.state_dict()["finished"] == 2


def test_a_projection_that_fails_leaves_the_task_open() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    before = copy.deepcopy(rgo.state_dict())
    moments = rgo.observe(batches())
    last = moments["4.bias"]
    moments["4.bias"] = last._replace(matrix=last.matrix * torch.inf)
    with pytest.raises(ValueError, match=r"4.bias: expected a matrix of finite"):
        rgo.consolidate(moments)
    assert_same(rgo.state_dict(), before)


def bound(**options: Any) -> dict[str, object]:
    return {"observe": partial(second_moments, **options)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0}, "damping must be a finite number > 0, got 0"),
        ({"damping": -1.0}, "damping must be a finite number > 0, got -1.0"),
        ({"damping": float("nan")}, "damping must be a finite number > 0, got nan"),
        ({"damping": float("inf")}, "damping must be a finite number > 0, got inf"),
        ({"damping": "0.1"}, "damping must be a finite number > 0, got '0.1'"),
        (bound(per="epoch"), "per must be None or 'sample' .* got 'epoch'"),
        (bound(reduce="sum"), "reduce must be None or 'mean' .* got 'sum'"),
        (bound(curvature="fisher"), "curvature must be .* got 'fisher'"),
        ({"project": "both"}, "project must be 'gradient' or 'update', got 'both'"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"unencoded": ["nothing"]}, "unencoded must name modules"),
        ({"unencoded": "0"}, "unencoded must be names in a list"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_leave_no_hooks(
    options: dict[str, object], message: str
) -> None:
    model = mlp()
    optimizer = sgd(model)
    with pytest.raises(ValueError, match=message):
        RGO(model, optimizer, **options)
    assert not list(hooks_of(model))
    assert not optimizer._optimizer_step_pre_hooks


def test_an_optimizer_of_another_model_is_refused_and_leaves_no_hooks() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="got one that holds none of the 6"):
        RGO(model, sgd(mlp()))
    assert not list(hooks_of(model))


def test_the_warning_of_an_adaptive_optimizer_points_at_the_caller() -> None:
    model = mlp()
    with pytest.warns(UserWarning, match="Adam rescales the gradient") as found:
        RGO(model, torch.optim.Adam(model.parameters()), project="gradient")
    assert found[0].filename == __file__


def told(rgo: RGO, *options: str) -> list[Any]:
    """Return what a state says of options."""
    return [rgo.state_dict()["options"][name] for name in options]


def test_of_an_adaptive_optimizer_the_update_is_projected_and_the_summary_says_so() -> (
    None
):
    model = mlp()
    rgo = RGO(model, torch.optim.AdamW(model.parameters()))
    assert rgo.projector.project == "update"
    assert rgo.projector.normalize == "none"
    assert rgo.damping == UPDATE_DAMPING
    assert told(rgo, "per", "reduce") == [None, None]
    model = mlp()
    rgo = RGO(model, torch.optim.AdamW(model.parameters()), damping=0.1)
    assert (rgo.damping, told(rgo, "relative")) == (0.1, [False])
    assert "update is projected, not the gradient: AdamW adapts" in rgo.summary()
    model = mlp()
    rgo = RGO(model, sgd(model))
    assert rgo.projector.project == "gradient"
    assert rgo.damping == measured_damping("sample", "mean")
    assert "update is projected" not in rgo.summary()


def test_after_detach_model_and_optimizer_are_plain() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    rgo.begin_task(1)
    rgo.detach()
    plain = mlp()
    plain.load_state_dict(model.state_dict())
    train(model, rgo.optimizer, batches())
    train(plain, sgd(plain), batches())
    assert not list(hooks_of(model))
    assert_same(weights_of(model), weights_of(plain))


def through_a_file(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("encode", [True, False])
@pytest.mark.parametrize("stop", ["before", "between", "within"])
def test_a_run_goes_on_from_its_saved_state_to_the_bit(stop: str, encode: bool) -> None:
    model, rgo = learner(encode=encode)
    if stop != "before":
        learn(model, rgo, 0)
        learn(model, rgo, 1)
    if stop == "within":
        rgo.begin_task(2)
        train(model, rgo.optimizer, batches(2, seed=7))
    state = through_a_file({"model": model.state_dict(), "rgo": rgo.state_dict()})
    other, resumed = learner(seed=9, encode=encode)
    other.load_state_dict(state["model"])
    resumed.load_state_dict(state["rgo"])
    assert torch.equal(other(batch()[0]), model(batch()[0]))
    for candidate, owner in ((model, rgo), (other, resumed)):
        if stop == "within":
            train(candidate, owner.optimizer, batches(2, seed=8))
            owner.end_task(batches())
        learn(candidate, owner, owner.state_dict()["finished"])
    assert_same(weights_of(other), weights_of(model))
    assert_same(resumed.state_dict(), rgo.state_dict())


def edited(**changes: object) -> Callable[[dict], dict]:
    return lambda state: state | changes


def lacking(key: str) -> Callable[[dict], dict]:
    return lambda state: {k: v for k, v in state.items() if k != key}


def with_entry(name: str) -> Callable[[dict], dict]:
    return lambda state: state | {"parameters": state["parameters"] | {name: {}}}


BAD_STATES = {
    r"not a state of RGO: it lacks \['parameters'\]": lacking("parameters"),
    r"not a state of RGO: it lacks \['finished'\]": lacking("finished"),
    "expected a state of version 1 or 2, got 3": edited(version=3),
    "the state's encoding is not this one's: .* got None": edited(encoding=None),
    "the state's encoding is not this one's: expected {'seed': 0": edited(
        encoding={"seed": 1, "widths": {"0": 8, "2": 8}}
    ),
    "expected a count of finished tasks .* got -1 and None": edited(finished=-1),
    "expected a count of finished tasks .* got 1 and 0": edited(current=0),
    "expected a count of finished tasks .* got '1'": edited(finished="1"),
    "the state is of another network: it has 'x'": with_entry("x"),
    "0.weight: expected a state with the tensors": with_entry("0.weight"),
    r"the state lacks the parameters \['0.weight', .* name these in grown=": edited(
        parameters={}
    ),
    "the state was made with per='batch' .here 'sample'., damping=3.0 .here": (
        lambda state: (
            state | {"options": state["options"] | {"per": "batch", "damping": 3.0}}
        )
    ),
    "not a state of RGO: got a list": list,
}


@pytest.mark.parametrize("message", BAD_STATES)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(message: str) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    before, logits = copy.deepcopy(rgo.state_dict()), model(batch()[0])
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(BAD_STATES[message](rgo.state_dict()))
    assert_same(rgo.state_dict(), before)
    assert torch.equal(model(batch()[0]), logits)


def test_a_state_of_another_network_is_refused() -> None:
    model, rgo = learner(encode=False)
    learn(model, rgo, 0)
    other = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8))
    fresh = RGO(other, sgd(other), encode=False)
    before = fresh.state_dict()
    with pytest.raises(ValueError, match=r"0.weight: expected a matrix of shape"):
        fresh.load_state_dict(rgo.state_dict())
    assert_same(fresh.state_dict(), before)


def test_the_damping_is_the_one_measured_for_the_vectors_unless_it_is_given() -> None:
    _, by_default = learner()
    by_batches = partial(second_moments, per="batch")
    _, by_batch = learner(observe=by_batches)
    _, given = learner(observe=by_batches, damping=0.5)
    assert by_default.damping == measured_damping("sample", "mean")
    assert by_batch.damping == measured_damping("batch", "mean")
    assert given.damping == 0.5


@pytest.mark.parametrize("damping", [0.1, Relative(0.1)])
def test_damping_counts_in_the_unit_that_is_asked_for(damping: Damping) -> None:
    model, rgo = learner(damping=damping)
    learn(model, rgo, 0)
    for name, moment in rgo.projector.moments.items():
        expected = rgo_core.consolidate(
            moment, damping, normalized=name.endswith("weight")
        )
        assert torch.equal(rgo.projector.projections[name], expected.float())


def test_an_old_task_may_be_looked_at_between_forward_and_backward() -> None:
    def gradients(look: bool) -> list[Tensor]:
        model, rgo = learner()
        for task in range(2):
            learn(model, rgo, task)
        x, y = batch()
        loss = functional.cross_entropy(model(x), y)
        if look:
            with rgo.task(0), torch.inference_mode():
                model(x)
        return list(torch.autograd.grad(loss, list(model.parameters())))

    torch.testing.assert_close(gradients(True), gradients(False), rtol=0, atol=0)


def test_losses_of_two_tasks_may_be_added() -> None:
    model, rgo = learner()
    for task in range(2):
        learn(model, rgo, task)
    x, y = batch()

    def loss(task: int) -> Tensor:
        with rgo.task(task):
            return functional.cross_entropy(model(x), y)

    parameters = list(model.parameters())
    together = torch.autograd.grad(loss(0) + loss(1), parameters)
    apart = [torch.autograd.grad(loss(task), parameters) for task in range(2)]
    for found, first, second in zip(together, *apart, strict=True):
        assert_near(found, first + second)


def test_training_goes_on_after_a_look_in_inference_mode() -> None:
    model, rgo = learner()
    for task in range(2):
        learn(model, rgo, task)
    with torch.inference_mode(), rgo.task(1):
        model(batch()[0])
    loss_of(model, *batch()).backward()


def test_a_task_is_not_begun_while_another_is_looked_at() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    message = re.escape("begin_task must not be called inside of task()")
    with rgo.task(0), pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)
    rgo.begin_task(1)


def test_a_model_that_got_other_parameters_is_noticed() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    message = r"0.weight: the model has another parameter there"
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)


@pytest.mark.parametrize("place", [0, 4])
def test_a_layer_that_was_replaced_is_refused_by_name(place: int) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    model[place] = copy.deepcopy(model[place])
    message = (
        f"^{place}: the Linear that RGO was attached to was replaced, there is a new "
        "Linear there, .* with grown= where"
    )
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)
    model[place] = nn.Identity()
    with pytest.raises(RuntimeError, match=f"^{place}: .* there is a new Identity"):
        rgo.begin_task(1)


def test_a_layer_that_is_gone_is_noticed_at_the_end_of_a_task_too() -> None:
    model, rgo = learner()
    rgo.begin_task(0)
    del model[4]
    with pytest.raises(RuntimeError, match=r"^4: the Linear .* there is none there"):
        rgo.end_task(batches())


def test_a_layer_that_was_added_is_refused_by_name() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    model.append(nn.Linear(CLASSES, CLASSES))
    message = "^5.bias, 5.weight: not there when RGO was attached, and not protected"
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)


def test_the_object_itself_is_not_copied() -> None:
    _, rgo = learner()
    with pytest.raises(TypeError, match="an RGO cannot be copied"):
        copy.deepcopy(rgo)


def test_a_curvature_of_rounding_is_not_taken_for_a_scale() -> None:
    message = "leaves the last layer a curvature of rounding alone"
    with pytest.raises(ValueError, match=message):
        learner(
            observe=partial(second_moments, curvature="exact"), damping=Relative(0.1)
        )


def test_after_detach_no_task_begins_and_none_comes_back_unencoded() -> None:
    model, rgo = learner()
    for task in range(2):
        learn(model, rgo, task)
    rgo.detach()
    with pytest.raises(RuntimeError, match="detached; attach a new one"):
        rgo.begin_task()
    with pytest.raises(RuntimeError, match="detached"), rgo.task(1):
        raise AssertionError("unreachable")
    assert rgo.state_dict()["finished"] == 2


def test_without_encoding_a_detached_model_serves_every_task() -> None:
    model, rgo = learner(encode=False)
    learn(model, rgo, 0)
    rgo.detach()
    plain, (x, _) = mlp(), batch()
    plain.load_state_dict(model.state_dict())
    with rgo.task(0):
        assert torch.equal(model(x), plain(x))


def test_the_features_of_a_pretrained_model_are_not_permuted_without_a_word(
    tmp_path: Path,
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=10, hidden_size=4, num_hidden_layers=1, num_attention_heads=1
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    model = transformers.BertModel.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"was pretrained \(.*permuted.*encode=False"):
        RGO(nn.Sequential(model), sgd(model)).detach()
    RGO(nn.Sequential(model), sgd(model), encode=False)
    fresh = transformers.BertModel(config)
    RGO(fresh, sgd(fresh))


@pytest.mark.parametrize("makes_anew", [False, True])
def test_updates_of_an_optimizer_that_is_not_known_are_warned_of(
    makes_anew: bool,
) -> None:
    model, rgo = learner(project="update")
    learn(model, rgo, 0)
    if makes_anew:
        rgo.optimizer = sgd(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn(model, rgo, 1)
    messages = [str(warning.message) for warning in caught]
    expected = r"0\.weight, .*: changed since the last task by something else than"
    assert [bool(re.match(expected, message)) for message in messages] == (
        [True] if makes_anew else []
    )


def test_parameters_that_are_set_between_tasks_or_after_steps_are_no_others(
    recwarn: pytest.WarningsRecorder,
) -> None:
    model, rgo = learner(project="update")
    learn(model, rgo, 0)
    model.load_state_dict(weights_of(model))
    rgo.begin_task(1)
    train(model, rgo.optimizer, batches(seed=1))
    model.load_state_dict(weights_of(model))  # of the best epoch, say
    rgo.end_task(batches(seed=1))
    assert not recwarn.list


def test_where_a_warning_is_an_error_no_hooks_are_left() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer, before = sgd(model), list(hooks_of(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="running statistics that every task"):
            RGO(model, optimizer, statistics="running")
    assert list(hooks_of(model)) == before
    with pytest.warns(UserWarning, match="running statistics that every task"):
        RGO(model, optimizer, statistics="running")
