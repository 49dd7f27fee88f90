"""The recurrent layers: the Elman cell written out, and torch's fused GRU and LSTM behind the same call.

Shapes: B windows, L steps, I input width, D hidden width.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}


class Elman(nn.Module):
    """h_t = s(W_hx x_t + W_hh h_{t-1} + b_h), h_0 = 0  (Elman, 1990, "Finding structure in time").

    (B, L, I) -> (B, L, D). For tanh and relu the same recurrence runs in torch's fused kernel, which is
    up to 30 times faster backward than a loop; `unrolled` is the formula itself.
    """

    def __init__(self, input_size: int, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__()
        self.activation = activation
        bound = 1 / math.sqrt(hidden_size)
        self.w_hx = nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-bound, bound))
        self.w_hh = nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-bound, bound))
        self.b_h = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        kernel = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}.get(self.activation)
        if kernel is None:
            return self.unrolled(x)
        h0 = x.new_zeros(1, x.shape[0], self.b_h.shape[0])
        weights = [self.w_hx, self.w_hh, self.b_h, torch.zeros_like(self.b_h)]  # the kernel adds two biases
        states, _ = kernel(x, h0, weights, True, 1, 0.0, self.training, False, True)
        return states

    def unrolled(self, x: Tensor) -> Tensor:
        """The recurrence step by step, for any activation: (B, L, I) -> (B, L, D)."""
        s = ACTIVATIONS[self.activation]
        inputs = x @ self.w_hx.T + self.b_h  # (B, L, D): W_hx x_t + b_h for all t at once
        h = torch.zeros_like(inputs[:, 0])  # (B, D)
        states = []
        for t in range(x.shape[1]):
            h = s(inputs[:, t] + h @ self.w_hh.T)
            states.append(h)
        return torch.stack(states, 1)


class Readout(nn.Module):
    """y_t = s(W_yx h_t + b_y): (B, D) -> (B, O)."""

    def __init__(self, hidden_size: int, output_size: int, activation: str = "identity") -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, output_size)
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](self.dense(h))


class Gated(nn.Module):
    """torch's own GRU or LSTM, one layer, states only: (B, L, I) -> (B, L, D)."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = kind(input_size, hidden_size, batch_first=True)
        if isinstance(self.rnn, nn.LSTM):  # a forget gate that starts open remembers (Jozefowicz et al., 2015)
            biases = dict(self.rnn.named_parameters())
            with torch.no_grad():
                biases["bias_ih_l0"][hidden_size : 2 * hidden_size].fill_(1.0)
                biases["bias_hh_l0"][hidden_size : 2 * hidden_size].zero_()

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.rnn(x)[0]
        return states


def build_cell(cell: str, input_size: int, hidden_size: int, activation: str) -> nn.Module:
    """The recurrent layer of that name: `elman`, `gru` or `lstm`."""
    if cell == "elman":
        return Elman(input_size, hidden_size, activation)
    return Gated(nn.GRU if cell == "gru" else nn.LSTM, input_size, hidden_size)
