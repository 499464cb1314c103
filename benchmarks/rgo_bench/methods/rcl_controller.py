"""What RCL learns by: a policy that draws how many units to add."""

import torch
from torch import Tensor, nn

HIDDEN, LAYERS, SPREAD = 100, 2, 0.08  # of the LSTM, as in the authors' program
CRITIC_LR = 0.005


class Controller:
    """Draws how many units each layer gains, and learns from the rewards.

    An LSTM reads a fixed random state first, then its own last probabilities; a linear
    map of its output has a logit for each number of units. The critic, linear in the
    state, learns the mean reward; a reward r moves the LSTM along ``(r - critic) grad
    log p(draw)``.

    Parameters
    ----------
    layers : int
        Numbers in a draw.
    most : int
        A number is less than that.
    lr : float
        Adam's, of the LSTM.
    seed : int
    """

    def __init__(self, layers: int, most: int, *, lr: float, seed: int) -> None:
        self._layers = layers
        self._generator = torch.Generator().manual_seed(seed)
        self._lstm = nn.LSTM(most, HIDDEN, LAYERS)
        self._output = nn.Linear(HIDDEN, most)
        self._critic = nn.Linear(most, 1)
        policy = [*self._lstm.parameters(), *self._output.parameters()]
        with torch.no_grad():
            for parameter in (*policy, *self._critic.parameters()):
                parameter.uniform_(-SPREAD, SPREAD, generator=self._generator)
        self._state = torch.randn(1, most, generator=self._generator)
        self._policy = torch.optim.Adam(policy, lr=lr)
        self._value = torch.optim.Adam(self._critic.parameters(), lr=CRITIC_LR)
        self._log_probability = torch.zeros(())

    def probabilities(self) -> Tensor:
        """Return those of each number of units, (layers, most)."""
        given, hidden, found = self._state, None, []
        for _ in range(self._layers):
            output, hidden = self._lstm(given, hidden)
            given = self._output(output).softmax(-1)
            found.append(given[0])
        return torch.stack(found)

    def draw(self) -> list[int]:
        """Draw how many units each layer gains."""
        chances = self.probabilities()
        drawn = torch.multinomial(chances.detach(), 1, generator=self._generator)
        self._log_probability = chances.gather(1, drawn).log().sum()
        return [int(number) for number in drawn[:, 0]]

    def learn(self, gained: float) -> None:
        """Learn from the reward of the last draw."""
        expected = self._critic(self._state).squeeze()
        self._value.zero_grad()
        (expected - gained).square().backward()
        self._policy.zero_grad()
        (-self._log_probability * (gained - float(expected.detach()))).backward()
        self._value.step()
        self._policy.step()
