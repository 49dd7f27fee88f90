"""The recurrences against plain NumPy loops, torch.nn.RNN and Keras' SimpleRNN."""

import numpy as np
import pytest
import torch
from torch import nn

from rnn_model.cells import Elman, Gated, Readout, build_cell

BY_NAME = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "identity": lambda a: a,
}


def formula(cell: Elman, x: np.ndarray) -> np.ndarray:
    """h_t = s(W_hx x_t + W_hh h_{t-1} + b_h), one window and one step at a time."""
    w_hx, w_hh, b_h = (p.detach().numpy() for p in (cell.w_hx, cell.w_hh, cell.b_h))
    out = np.zeros((*x.shape[:2], len(b_h)))
    for i, window in enumerate(x):
        h = np.zeros(len(b_h))
        for t, x_t in enumerate(window):
            h = BY_NAME[cell.activation](w_hx @ x_t + w_hh @ h + b_h)
            out[i, t] = h
    return out


@pytest.mark.parametrize("activation", list(BY_NAME))
@pytest.mark.parametrize("path", ["forward", "unrolled"])
def test_elman_is_the_articles_formula(activation: str, path: str) -> None:
    torch.manual_seed(0)
    cell = Elman(3, 5, activation).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    states = getattr(cell, path)(x).detach().numpy()
    np.testing.assert_allclose(states, formula(cell, x.numpy()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_fused_and_unrolled_elman_have_the_same_gradients(activation: str) -> None:
    torch.manual_seed(1)
    cell = Elman(3, 5, activation).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    weight = torch.randn(2, 7, 5, dtype=torch.float64)
    fused = torch.autograd.grad((cell(x) * weight).sum(), list(cell.parameters()))
    looped = torch.autograd.grad((cell.unrolled(x) * weight).sum(), list(cell.parameters()))
    torch.testing.assert_close(fused, looped, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_elman_equals_torchs_rnn_forward_and_backward(activation: str) -> None:
    torch.manual_seed(2)
    cell = Elman(3, 5, activation).double()
    reference = nn.RNN(3, 5, nonlinearity=activation, batch_first=True).double()
    with torch.no_grad():
        reference.weight_ih_l0.copy_(cell.w_hx)
        reference.weight_hh_l0.copy_(cell.w_hh)
        reference.bias_ih_l0.copy_(cell.b_h)
        reference.bias_hh_l0.zero_()
    x = torch.randn(4, 9, 3, dtype=torch.float64)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, expected = cell(mine), reference(theirs)[0]
    torch.testing.assert_close(ours, expected)
    ours.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(cell.w_hx.grad, reference.weight_ih_l0.grad)
    torch.testing.assert_close(cell.w_hh.grad, reference.weight_hh_l0.grad)
    torch.testing.assert_close(cell.b_h.grad, reference.bias_ih_l0.grad)


def test_elman_with_keras_weights_gives_simple_rnns_recorded_numbers() -> None:
    """SimpleRNN is tanh(x W + h U + b) with row vectors; the table is that equation worked out once."""
    kernel = torch.tensor([[0.5, -0.3]])  # W (input, units)
    recurrent = torch.tensor([[0.1, 0.2], [-0.4, 0.3]])  # U (units, units)
    bias = torch.tensor([0.05, -0.1])
    recorded = torch.tensor(
        [
            [0.50052021, -0.37994896],  # tanh(0.55), tanh(-0.4): h_0 is zero
            [0.46371341, -0.25792164],
            [-0.29173352, 0.21209708],
            [0.73337342, -0.60100411],
        ]
    )
    cell = Elman(1, 2, "tanh")
    with torch.no_grad():
        cell.w_hx.copy_(kernel.T)
        cell.w_hh.copy_(recurrent.T)
        cell.b_h.copy_(bias)
    states = cell(torch.tensor([[[1.0], [0.5], [-1.0], [2.0]]]))[0]
    torch.testing.assert_close(states, recorded, rtol=0, atol=1e-6)


def test_lstm_is_the_textbook_equations() -> None:
    torch.manual_seed(3)
    cell = Gated(nn.LSTM, 2, 3).double()
    w_x, w_h, b_x, b_h = (p.detach().numpy() for p in cell.rnn.parameters())
    x = torch.randn(1, 6, 2, dtype=torch.float64)
    h, c = np.zeros(3), np.zeros(3)
    states = []
    for x_t in x[0].numpy():
        i, f, g, o = np.split(w_x @ x_t + w_h @ h + b_x + b_h, 4)
        c = BY_NAME["sigmoid"](f) * c + BY_NAME["sigmoid"](i) * np.tanh(g)
        h = BY_NAME["sigmoid"](o) * np.tanh(c)
        states.append(h)
    np.testing.assert_allclose(cell(x)[0].detach().numpy(), states, rtol=1e-12)


def test_forget_gate_of_a_fresh_lstm_starts_open() -> None:
    cell = Gated(nn.LSTM, 2, 3)
    total = dict(cell.rnn.named_parameters())
    assert (total["bias_ih_l0"] + total["bias_hh_l0"])[3:6].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("cell", "activation"), [("elman", s) for s in BY_NAME] + [("gru", ""), ("lstm", "")])
def test_no_state_sees_a_later_input(cell: str, activation: str) -> None:
    torch.manual_seed(4)
    layer = build_cell(cell, 2, 4, activation)
    x = torch.randn(3, 8, 2)
    changed = x.clone()
    changed[:, 5:] += 10
    before, after = layer(x), layer(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5], after[:, 5])


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_every_cell_maps_steps_to_states_of_its_width(cell: str) -> None:
    assert build_cell(cell, 3, 7, "tanh")(torch.zeros(2, 5, 3)).shape == (2, 5, 7)


@pytest.mark.parametrize("activation", list(BY_NAME))
def test_readout_is_s_of_wh_plus_b(activation: str) -> None:
    readout = Readout(2, 1, activation)
    with torch.no_grad():
        readout.dense.weight.copy_(torch.tensor([[2.0, -1.0]]))
        readout.dense.bias.copy_(torch.tensor([0.5]))
    y = readout(torch.tensor([[1.0, 4.0], [3.0, 1.0]]))  # 2 - 4 + 0.5 and 6 - 1 + 0.5
    np.testing.assert_allclose(y.detach()[:, 0], BY_NAME[activation](np.array([-1.5, 5.5])), rtol=1e-6)
