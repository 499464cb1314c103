"""What attention takes in, and what classes of one's own give out, is encoded too."""

import copy

import torch
from torch import Tensor, nn
from torch_backend.encoded import permuted
from torch_backend.readers import WIDTH
from torch_backend.tolerance import assert_near

from rgo_torch import FeatureEncoder


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
