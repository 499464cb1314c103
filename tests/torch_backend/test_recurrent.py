"""Recurrent layers: a vector for each step, and states that are encoded and go on."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch_backend.readers import READERS, SAMPLES, WIDTH, data, score
from torch_backend.tolerance import assert_near

from rgo_torch import FeatureEncoder, second_moments


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
        inputs.append((word, hidden))
        sums.append(word @ weights[0].T + hidden @ weights[1].T + sum(biases))
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
