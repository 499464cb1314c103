"""What RGO warns of, and whose line the warning points at."""

import copy
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch_backend.learning import learn, learner
from torch_backend.nets import (
    batch,
    batches,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
)

from rgo_torch import RGO
from rgo_torch.options.frozen import frozen_copies


def test_the_warning_of_an_adaptive_optimizer_points_at_the_caller() -> None:
    model = mlp()
    with pytest.warns(UserWarning, match="Adam rescales the gradient") as found:
        RGO(model, torch.optim.Adam(model.parameters()), project="gradient")
    assert found[0].filename == __file__


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


def in_second_task() -> tuple[nn.Module, RGO]:
    """Return a model that ended a task without a step, and began the next."""
    model = mlp()
    rgo = RGO(model, torch.optim.Adam(model.parameters()))
    rgo.begin_task(0)
    rgo.end_task(batches())
    rgo.begin_task(1)
    return model, rgo


@pytest.mark.parametrize("is_past_counts", [False, True])
def test_what_a_loop_adds_to_the_weights_itself_is_warned_of(
    is_past_counts: bool,
) -> None:
    model, rgo = in_second_task()
    loss_of(model, *batch()).backward()
    with torch.no_grad():
        for p in model.parameters():
            (p.data if is_past_counts else p).add_(p.grad, alpha=-0.1)
    message = r"changed since .* that adds to the weights itself gives RGO an SGD"
    with pytest.warns(UserWarning, match=message):
        rgo.end_task(batches())


def test_weights_that_are_set_and_put_back_are_no_others(
    recwarn: pytest.WarningsRecorder,
) -> None:
    model, rgo = in_second_task()
    kept = weights_of(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    model.load_state_dict(kept)
    rgo.end_task(batches())
    assert not recwarn.list


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


def test_what_is_trained_and_cannot_be_protected_is_warned_of_by_name() -> None:
    lstm = nn.LSTM(3, 4)
    nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l0")
    model = nn.Sequential(lstm, nn.Flatten(), nn.Linear(4, 2))
    message = r"0\.weight_ih_l0, .*not protected, of .*LSTM whose weights are .*freeze"
    with pytest.warns(UserWarning, match=message):
        RGO(model, sgd(model)).detach()
    lstm.requires_grad_(False)
    RGO(model, sgd(model)).detach()
    linear = nn.Sequential(nn.Linear(3, 2))
    RGO(linear, sgd(linear), layout={"0.bias": None})


class WithTarget(nn.Module):
    """A network and what it was like, as in learning by temporal differences."""

    def __init__(self, *, trained: bool) -> None:
        super().__init__()
        self.online = mlp()
        self.target = copy.deepcopy(self.online).requires_grad_(trained)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.online(x)
        return logits


def test_a_frozen_copy_inside_of_the_model_is_warned_of() -> None:
    model = WithTarget(trained=False)
    with pytest.warns(UserWarning, match=r"target\.\d of online\.\d.*: a frozen copy"):
        RGO(model, sgd(model.online), unencoded=[]).detach()
    RGO(model, sgd(model.online), encode=False).detach()  # warnings are errors
    for weight in (p for p in model.target.parameters() if p.ndim > 1):
        nn.init.normal_(weight)
    with pytest.warns(UserWarning, match=r"target\.0, target\.2: frozen, or held"):
        RGO(model, sgd(model.online), unencoded=[]).detach()
    both = WithTarget(trained=True)  # as the layers of a TransformerEncoder begin
    RGO(both, sgd(both), unencoded=[]).detach()


@pytest.mark.filterwarnings("ignore:target.*before other such layers")
def test_a_frozen_copy_of_another_dtype_or_place_is_not_compared() -> None:
    model = WithTarget(trained=False)
    model.target.double()
    RGO(model, sgd(model.online), unencoded=[]).detach()
    meta = [WithTarget(trained=False).to(device) for device in ("meta", "cpu")]
    apart = nn.ModuleDict({"online": meta[1].online, "target": meta[0].target})
    assert frozen_copies(apart, ["online.0", "target.0"]) is None


@pytest.mark.filterwarnings("ignore:target.*before other such layers")
def test_frozen_weights_that_are_all_alike_are_no_copies() -> None:
    model = WithTarget(trained=False)
    for weight in model.parameters():
        nn.init.zeros_(weight)
    RGO(model, sgd(model.online), unencoded=[]).detach()


def test_a_copy_made_after_attaching_is_the_same_function_in_every_task() -> None:
    model = mlp()
    early = copy.deepcopy(model)
    rgo = RGO(model, sgd(model))
    late = copy.deepcopy(model)
    x, _ = batch(7)
    for task in range(2):
        rgo.begin_task(task)
        train(model, sgd(model), [batch(12)])
        for each in (early, late):
            each.load_state_dict(model.state_dict())
        assert torch.equal(late(x), model(x))
        assert torch.equal(early(x), model(x)) == (task == 0)
        rgo.end_task([batch(12)])


def test_a_parameter_whose_state_is_large_is_warned_of_and_bounded() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 20_000), nn.Linear(20_000, 2))
    message = "0.bias, 1.weight: more than a GiB of state each, 0.bias 4.5 GiB"
    with pytest.warns(UserWarning, match=message):
        RGO(model, sgd(model)).detach()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RGO(model, sgd(model), max_features=1000)


@pytest.mark.parametrize("given", ["all", "head"])
@pytest.mark.filterwarnings("error")
def test_frozen_weights_are_neither_written_to_nor_warned_of(given: str) -> None:
    model = mlp()
    model[:4].requires_grad_(False)
    held = model if given == "all" else model[4]
    optimizer = torch.optim.AdamW(held.parameters(), lr=0.01)
    rgo = RGO(model, optimizer, encode=False)
    for task in range(3):
        rgo.begin_task(task)
        version = model[0].weight._version
        train(model, optimizer, batches(seed=task))
        assert model[0].weight._version == version
        rgo.end_task(batches(seed=task))


def test_what_was_cast_thawed_or_frozen_since_it_was_attached_is_warned_of_once() -> (
    None
):
    model = WithTarget(trained=True)
    model.lstm = nn.LSTM(3, 4)
    nn.utils.parametrizations.weight_norm(model.lstm, "weight_hh_l0")
    model.lstm.requires_grad_(False)
    rgo = RGO(model, sgd(model), unencoded=[])
    model.target.requires_grad_(False)
    with pytest.warns(UserWarning, match=r"target\.\d of online\.\d.*: a frozen copy"):
        rgo.begin_task(0)
    model.lstm.requires_grad_(True)
    message = r"lstm\.weight_ih_l0, .*: trained and not protected"
    with pytest.warns(UserWarning, match=message):
        rgo.observe(batches())
    model.target = model.target.double()
    model.online.bfloat16()
    data = [(x.bfloat16(), y) for x, y in batches()]
    message = r"online\.0\.weight, .* more: trained in bfloat16, where each step"
    no_copy = pytest.warns(UserWarning, match="target.*before other such layers")
    with no_copy, pytest.warns(UserWarning, match=message) as told:
        rgo.end_task(data)
    assert len(told) == 2
    rgo.begin_task(1)  # warnings are errors
    assert re.search(message, rgo.summary())
