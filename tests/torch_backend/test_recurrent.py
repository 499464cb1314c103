"""Recurrent layers: a vector for each step, and states that are encoded and go on."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch_backend.readers import READERS, SAMPLES, WIDTH, data, score
from torch_backend.tolerance import assert_near

from rgo_torch import FeatureEncoder, FeatureEncoding, second_moments
from rgo_torch.layers.unrolling import stepped, unrolled
from rgo_torch.modules.trees import leaves_of


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_final_state_is_the_last_output_and_goes_on(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(kind(3, WIDTH, batch_first=True), nn.Linear(WIDTH, 2))
    layer, x = model[0], torch.randn(2, 6, 3)
    plain, _ = layer(x)
    FeatureEncoder(model, seed=7).set_task(1)
    whole, states = layer(x)
    first, between = layer(x[:, :3])
    second, after = layer(x[:, 3:], hx=between)
    assert_near(torch.cat([first, second], 1), whole)
    hidden, again = (s[0] if isinstance(s, tuple) else s for s in (states, after))
    assert_near(hidden[-1], whole[:, -1])
    assert_near(again, hidden)
    assert not torch.equal(whole, plain)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not:UserWarning")
def test_the_states_of_a_projected_lstm_are_encoded_by_their_width() -> None:
    model = nn.Sequential(nn.LSTM(3, 6, proj_size=WIDTH), nn.Linear(WIDTH, 2))
    FeatureEncoder(model, seed=7).set_task(1)
    outputs, (hidden, _) = model[0](torch.randn(5, 2, 3))
    assert_near(hidden[0], outputs[-1])


def test_a_recurrent_layer_has_a_vector_for_each_step_of_a_sample() -> None:
    model = READERS["rnn"]().double()
    encoder = FeatureEncoder(model, seed=7)
    encoder.set_task(1)
    x, y = data()
    found = second_moments(model, [(x, y)], per=None, reduce=None, score=score)
    layer = model.layer
    weights = [layer.get_parameter(f"weight_{each}_l0") for each in ("ih", "hh")]
    biases = [layer.get_parameter(f"bias_{each}_l0") for each in ("ih", "hh")]
    hidden = torch.zeros(SAMPLES, WIDTH, dtype=torch.float64)
    inputs: list[tuple[Tensor, Tensor]] = []
    sums: list[Tensor] = []
    for word in model.words(x).unbind(1):
        before = encoder.encodings["layer.recurrence"](hidden)
        inputs.append((word, before))
        sums.append(word @ weights[0].T + before @ weights[1].T + sum(biases))
        hidden = sums[-1].tanh()
    logits = model.head(encoder.encodings["layer"](hidden))
    total = logits.log_softmax(-1).gather(1, y[:, None]).sum()
    arrived = torch.autograd.grad(total, sums)
    for place, own in enumerate(("layer.weight_ih_l0", "layer.weight_hh_l0")):
        rows = torch.cat(
            [
                each[place] * d.square().mean(-1, keepdim=True).sqrt()
                for each, d in zip(inputs, arrived, strict=True)
            ]
        )
        assert_near(found[own].matrix, rows.mT @ rows, amplification=100)
    steps = torch.cat(arrived)
    assert_near(found["layer.bias_ih_l0"].matrix, steps.mT @ steps, amplification=100)


FORMS: dict[str, Callable[[], nn.Module]] = {
    "rnn": lambda: nn.RNN(3, WIDTH),
    "stacked gru": lambda: nn.GRU(3, WIDTH, num_layers=3, batch_first=True),
    "both ways": lambda: nn.LSTM(3, WIDTH, num_layers=2, bidirectional=True),
    "projected": lambda: nn.LSTM(3, 6, proj_size=WIDTH, num_layers=2),
    "rnn cell": lambda: nn.RNNCell(3, WIDTH),
    "gru cell": lambda: nn.GRUCell(3, WIDTH),
    "lstm cell": lambda: nn.LSTMCell(3, WIDTH),
}


def encoded(form: str) -> tuple[nn.Module, FeatureEncoder]:
    """Return a recurrent module in a model that is encoded for its second task."""
    torch.manual_seed(0)
    layer = FORMS[form]().double()
    head = nn.Linear(2 * WIDTH if form == "both ways" else WIDTH, 2).double()
    encoder = FeatureEncoder(nn.Sequential(layer, head), seed=7)
    encoder.set_task(1)
    return layer, encoder


def given_to(layer: nn.Module) -> tuple[Tensor, Any]:
    """Return inputs and states, which a cell is given one step of."""
    x = torch.randn(4, 4, 3, dtype=torch.float64)
    if not isinstance(layer, nn.RNNBase):
        states = torch.randn(2, 4, WIDTH, dtype=torch.float64)
        return x[0], tuple(states) if isinstance(layer, nn.LSTMCell) else states[0]
    return x, None


@pytest.mark.filterwarnings("ignore:LSTM with projections is not:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_what_meets_a_weight_is_permuted_as_its_columns_are(form: str) -> None:
    """Fused by columns of the weights, unrolled by the states themselves."""
    layer, encoder = encoded(form)
    x, states = given_to(layer)
    parameters = dict(layer.named_parameters())
    found = leaves_of(layer(x, states))
    own = encoder.encodings
    with torch.no_grad():
        if isinstance(layer, nn.RNNBase):
            outputs, *last = unrolled(layer, parameters, (x, states), {})
            state = own.get("0.state", own["0"])
            expected = [own["0"](outputs), *(_as_wide(state, each) for each in last)]
        else:
            before = states if isinstance(states, tuple) else (states,)
            undone = tuple(own["0"].undone(each) for each in before)
            hx = undone if isinstance(states, tuple) else undone[0]
            after = leaves_of(stepped(layer, parameters, (x, hx), {}))
            expected = [own["0"](each) for each in after]
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, amplification=100)


def _as_wide(encoding: FeatureEncoding, state: Tensor) -> Tensor:
    return encoding(state) if state.shape[-1] == encoding.width else state


@pytest.mark.filterwarnings("ignore:LSTM with projections is not:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_every_recurrence_is_another_in_the_second_task(form: str) -> None:
    """Though what is given out were put back in order."""
    layer, encoder = encoded(form)
    names = [name for name in encoder.encodings if "." in name]
    stacked = (
        {"between"} if form in ("stacked gru", "both ways", "projected") else set()
    )
    half = {"state"} if form == "both ways" else set()
    assert {name.split(".")[1] for name in names} == {"recurrence"} | stacked | half
    x, states = given_to(layer)
    found = []
    for name in ("0.recurrence", *(n for n in names if "between" in n)):
        encoding = encoder.encodings[name]
        found.append(leaves_of(layer(x, states))[0])
        encoding.is_identity = True
    found.append(leaves_of(layer(x, states))[0])
    for one, other in itertools.pairwise(found):
        assert (one - other).norm() > 1e-3


@pytest.mark.filterwarnings("ignore:LSTM with projections is not:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_a_module_has_its_own_weights_after_its_forward(form: str) -> None:
    layer, encoder = encoded(form)
    x, states = given_to(layer)
    before = {name: getattr(layer, name) for name, _ in layer.named_parameters()}
    for inputs in (x, x[..., :2]):  # the second are too narrow
        with nullcontext() if inputs is x else pytest.raises(RuntimeError):
            layer(inputs, states)
        for name, parameter in before.items():
            assert getattr(layer, name) is parameter
    encoder.set_task(0)
    again = leaves_of(layer(x, states))
    encoder.detach()
    for one, other in zip(again, leaves_of(layer(x, states)), strict=True):
        assert torch.equal(one, other)


def interrupted(*args: object) -> None:
    """Raise what PyTorch calls no hook after."""
    raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:LSTM with projections is not:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_a_forward_that_was_interrupted_leaves_the_next_one_as_it_is(form: str) -> None:
    layer, encoder = encoded(form)
    x, states = given_to(layer)
    expected = {}
    for task in (0, 1, 2):
        encoder.set_task(task)
        expected[task] = leaves_of(layer(x, states))
    for task in (0, 1):
        encoder.set_task(2)
        handle = layer.register_forward_pre_hook(interrupted)
        with pytest.raises(KeyboardInterrupt):
            layer(x, states)
        handle.remove()
        encoder.set_task(task)
        found = leaves_of(layer(x, states))
        for one, other in zip(found, expected[task], strict=True):
            assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_what_was_interrupted_is_undone_with_the_hooks(form: str) -> None:
    layer, encoder = encoded(form)
    x, states = given_to(layer)
    before = {name: getattr(layer, name) for name, _ in layer.named_parameters()}
    handle = layer.register_forward_pre_hook(interrupted)
    with pytest.raises(KeyboardInterrupt):
        layer(x, states)
    handle.remove()
    encoder.detach()
    for name, parameter in before.items():
        assert getattr(layer, name) is parameter


STEPPED = ("gru", "lstm", "lstm, last state", "both ways", "gru cell", "lstm cell")


@pytest.mark.parametrize("name", STEPPED)
def test_of_one_step_the_vectors_of_steps_are_as_long_as_those_of_samples(
    name: str,
) -> None:
    model = READERS[name]().double()
    FeatureEncoder(model, seed=7).set_task(1)
    x, y = data()
    batches = [(x[:, :1], y)]
    steps = second_moments(model, batches, per=None, reduce=None, score=score)
    samples = second_moments(model, batches, reduce="rms", score=score)
    for own in (own for own in steps if own.startswith("layer.")):
        # Over the outputs a sample's root mean square has lost the signs.
        assert_near(
            steps[own].matrix.diagonal(),
            samples[own].matrix.diagonal(),
            amplification=100,
        )


def test_a_packed_sequence_has_no_vectors_of_its_padding() -> None:
    model = READERS["gru"]().double()
    lengths = torch.tensor([3, 1, 2])
    x = torch.randn(3, 4, WIDTH, dtype=torch.float64)
    y = torch.randn(3, WIDTH, dtype=torch.float64)

    def of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        given, towards = batch
        if len(given) == 1:
            return (model.layer(given)[1][0] * towards).sum(-1)
        packed = pack_padded_sequence(
            given, lengths, batch_first=True, enforce_sorted=False
        )
        return (model.layer(packed)[1][0] * towards).sum(-1)

    found = second_moments(model, [(x, y)], per=None, reduce=None, score=of)
    alone = [
        (one[:, :length], towards)
        for one, length, towards in zip(x.split(1), lengths, y.split(1), strict=True)
    ]
    expected = second_moments(model, alone, per=None, reduce=None, score=of)
    for own in ("layer.weight_ih_l0", "layer.weight_hh_l0", "layer.bias_hh_l0"):
        assert_near(found[own].matrix, expected[own].matrix, amplification=100)
