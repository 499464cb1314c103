"""What encoded layers of every kind are observed by, against loops over samples."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch_backend.encoded import permuted
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import Axes, FeatureEncoder, find_layout, second_moments

WORDS, WIDTH, CLASSES, SAMPLES = 11, 4, 3, 6
HEAD = Axes(inputs=(1,), outputs=(0,))


class Reader(nn.Module):
    """Words, a layer that reads them, and a head."""

    def __init__(self, kind: Callable[..., nn.Module], *args: int, **options: bool):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layer = kind(*args, **options)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.read(self.words(ids)))

    def read(self, words: Tensor) -> Tensor:
        return self.layer(words)[0][:, -1]


class LastState(Reader):
    def read(self, words: Tensor) -> Tensor:
        states = self.layer(words)[1]
        return (states[0] if isinstance(states, tuple) else states).sum(0)


class Cell(Reader):
    def read(self, words: Tensor) -> Tensor:
        states = None
        for word in words.unbind(1):
            states = self.layer(word, states)
        return states[0] if isinstance(states, tuple) else states


class Attending(Reader):
    def read(self, words: Tensor) -> Tensor:
        return self.layer(words, words, value=words)[0].mean(1)


class Weighing(Reader):
    """Looks at the weights of attention, for which there is no formula."""

    def read(self, words: Tensor) -> Tensor:
        attended, weights = self.layer(words, words, words)
        return attended.mean(1) + weights.mean(1)[:, :WIDTH]


class Bag(Reader):
    def __init__(self, kind: Callable[..., nn.Module], *args: int) -> None:
        super().__init__(kind, *args)
        del self.words

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layer(ids))


class Pairs(Reader):
    def read(self, words: Tensor) -> Tensor:
        return self.layer(words[:, 0], words[:, 1])


READERS = {
    "rnn": lambda: Reader(nn.RNN, WIDTH, WIDTH, batch_first=True),
    "gru": lambda: Reader(nn.GRU, WIDTH, WIDTH, batch_first=True),
    "lstm": lambda: Reader(nn.LSTM, WIDTH, WIDTH, batch_first=True),
    "lstm, last state": lambda: LastState(nn.LSTM, WIDTH, WIDTH, batch_first=True),
    "both ways": lambda: LastState(
        nn.GRU, WIDTH, WIDTH, batch_first=True, bidirectional=True
    ),
    "gru cell": lambda: Cell(nn.GRUCell, WIDTH, WIDTH),
    "lstm cell": lambda: Cell(nn.LSTMCell, WIDTH, WIDTH),
    "attention": lambda: Attending(nn.MultiheadAttention, WIDTH, 2, batch_first=True),
    "its weights": lambda: Weighing(nn.MultiheadAttention, WIDTH, 2, batch_first=True),
    "bag": lambda: Bag(nn.EmbeddingBag, WORDS, WIDTH),
    "bilinear": lambda: Pairs(nn.Bilinear, WIDTH, WIDTH, WIDTH),
}


def score(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return model(x).log_softmax(-1).gather(1, y[:, None])[:, 0]


def data() -> tuple[Tensor, Tensor]:
    return torch.randint(WORDS, (SAMPLES, 5)), torch.randint(CLASSES, (SAMPLES,))


def axes_of(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Axes]]:
    for layer in find_layout(model).layers:
        for own, axes in layer.axes.items():
            yield layer.full_name(own), model.get_parameter(layer.full_name(own)), axes


def moment(gradient: Tensor, axes: Axes) -> Tensor:
    """Return the second moment of one sample's root mean square over the outputs."""
    rows = rgo_core.to_rows(gradient, axes, xp=xp)
    columns = rgo_core.reduce_outputs(rows.mT, reduce="rms", xp=xp)
    square = columns @ columns.mT
    return square.diagonal(dim1=-2, dim2=-1) if axes.diagonal else square


@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("name", READERS)
def test_an_encoded_layer_is_observed_in_its_own_order(name: str, task: int) -> None:
    model = READERS[name]().double()
    FeatureEncoder(model, seed=7).set_task(task)
    x, y = data()
    found = second_moments(model, [(x, y)], per="sample", reduce="rms", score=score)
    expected = {name: 0.0 for name, _ in model.named_parameters()}
    for sample in zip(x.split(1), y.split(1), strict=True):
        model.zero_grad()
        score(model, sample).sum().backward()
        for own, parameter, axes in axes_of(model):
            assert parameter.grad is not None
            expected[own] += moment(parameter.grad, axes)
    for own, whole in expected.items():
        matrix, _ = found[own]
        assert_near(matrix, whole, amplification=100)


def test_a_tied_embedding_is_observed_in_its_own_order() -> None:
    """As a head it has its rows' gradients, shared out among all words."""
    model = Reader(nn.RNN, WIDTH, WIDTH, batch_first=True).double()
    model.head = nn.Linear(WIDTH, WORDS, bias=False).double()
    apart = copy.deepcopy(model)
    apart.head.weight = nn.Parameter(model.words.weight.detach().clone())
    model.head.weight = model.words.weight
    for each in (model, apart):
        FeatureEncoder(each, seed=7).set_task(1)
    x, _ = data()
    y = torch.randint(WORDS, (SAMPLES,))
    found = second_moments(model, [(x, y)], per="sample", reduce="rms", score=score)
    expected = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    for sample in zip(x.split(1), y.split(1), strict=True):
        apart.zero_grad()
        score(apart, sample).sum().backward()
        rows, head = apart.words.weight.grad, apart.head.weight.grad
        assert rows is not None
        assert head is not None
        expected += rows.mT @ rows / WORDS + moment(head, HEAD)
    assert_near(found["words.weight"].matrix, expected, amplification=100)


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


def test_attention_takes_in_what_is_permuted_and_still_attends_to_itself() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, 2, kdim=3, vdim=3, batch_first=True)
    model = nn.Sequential(attention, nn.Linear(WIDTH, 2))
    plain = copy.deepcopy(attention)
    FeatureEncoder(model, seed=7).set_task(1)
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 4, 3)
    expected, _ = plain(permuted(x, -1, "0", 1), memory, memory)
    assert_near(attention(x, memory, value=memory)[0], permuted(expected, -1, "0", 1))


class Convolved(nn.Module):
    """A graph's convolution, as people write it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, features: Tensor, summed: bool = False) -> Tensor:
        support = torch.matmul(features, self.weight)
        return (support + self.bias).sum(-1) if summed else support + self.bias


def test_what_a_class_of_ones_own_multiplies_by_last_gives_out_its_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Convolved(3, WIDTH), nn.Linear(WIDTH, 2))
    x = torch.randn(2, 5, 3)
    plain = model[0](x), model[0](x, summed=True)
    encoder = FeatureEncoder(model, seed=7)
    assert encoder.widths == {"0": WIDTH}
    encoder.set_task(1)
    assert torch.equal(model[0](x), permuted(plain[0], -1, "0", 1))
    assert torch.equal(model[0](x, summed=True), plain[1])  # of another width
