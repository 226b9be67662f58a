"""Recurrent layers against loops written out in NumPy; packing and padding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn.utils import rnn


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm(x: Any, w: Any, u: Any, b: Any, c: Any, h: Any) -> tuple[Any, Any, Any]:
    """Hochreiter & Schmidhuber's equations, one sequence, one number of the hidden state at a time."""
    outputs = []
    size = len(h)
    for x_t in x:
        new_h, new_c = np.empty(size), np.empty(size)
        for k in range(size):
            i, f, g, o = (w[k + gate * size] @ x_t + u[k + gate * size] @ h + b[k + gate * size] for gate in range(4))
            new_c[k] = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
            new_h[k] = sigmoid(o) * np.tanh(new_c[k])
        h, c = new_h, new_c
        outputs.append(h)
    return np.array(outputs), h, c


def gru(x: Any, w: Any, u: Any, b: Any, b_hidden: Any, h: Any) -> Any:
    """Cho's equations with the reset gate behind the product, one number at a time."""
    outputs = []
    size = len(h)
    for x_t in x:
        new = np.empty(size)
        for k in range(size):
            inner = [u[k + gate * size] @ h + b_hidden[k + gate * size] for gate in range(3)]
            outer = [w[k + gate * size] @ x_t + b[k + gate * size] for gate in range(3)]
            r, z = sigmoid(outer[0] + inner[0]), sigmoid(outer[1] + inner[1])
            new[k] = (1 - z) * np.tanh(outer[2] + r * inner[2]) + z * h[k]
        h = new
        outputs.append(h)
    return np.array(outputs)


def arrays(layer: Any, suffix: str) -> list[Any]:
    return [getattr(layer, f"{kind}_{suffix}").detach().numpy() for kind in ("weight_ih", "weight_hh")] + [
        getattr(layer, f"{kind}_{suffix}").detach().numpy() for kind in ("bias_ih", "bias_hh")
    ]


def test_lstm_is_its_equations() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, dtype=wg.float64)
    x = wg.randn(5, 2, 3, dtype=wg.float64)
    h, c = wg.randn(2, 2, 4, dtype=wg.float64), wg.randn(2, 2, 4, dtype=wg.float64)
    out, (last_h, last_c) = layer(x, (h, c))
    for n in range(2):
        y = x.numpy()[:, n]
        for level in range(2):
            w, u, b, more = arrays(layer, f"l{level}")
            y, want_h, want_c = lstm(y, w, u, b + more, c.numpy()[level, n], h.numpy()[level, n])
            np.testing.assert_allclose(last_h.detach().numpy()[level, n], want_h, rtol=1e-12)
            np.testing.assert_allclose(last_c.detach().numpy()[level, n], want_c, rtol=1e-12)
        np.testing.assert_allclose(out.detach().numpy()[:, n], y, rtol=1e-12)


def test_gru_is_its_equations_in_both_directions() -> None:
    layer = nn.GRU(3, 4, bidirectional=True, dtype=wg.float64)
    x, h = wg.randn(5, 3, dtype=wg.float64), wg.randn(2, 4, dtype=wg.float64)
    out, _ = layer(x, h)
    forth = gru(x.numpy(), *arrays(layer, "l0"), h.numpy()[0])
    back = gru(x.numpy()[::-1], *arrays(layer, "l0_reverse"), h.numpy()[1])[::-1]
    np.testing.assert_allclose(out.detach().numpy(), np.concatenate([forth, back], 1), rtol=1e-12)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda kind: kind.__name__)
def test_cells_are_the_steps_of_layers(kind: Any) -> None:
    layer, cell = kind(3, 4), {nn.RNN: nn.RNNCell, nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}[kind](3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x, state, outputs = wg.randn(5, 2, 3), None, []
    for x_t in x:
        state = cell(x_t, state)
        outputs.append(state[0] if kind is nn.LSTM else state)
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), wg.stack(outputs).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.quick(kind=[nn.GRU])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("ways", [1, 2])
def test_packed_sequences_are_the_single_ones(kind: Any, ways: int) -> None:
    layer = kind(3, 4, num_layers=2, bidirectional=ways == 2, dtype=wg.float64)
    parts = [wg.randn(n, 3, dtype=wg.float64) for n in (2, 5, 3, 5)]
    out, final = layer(rnn.pack_sequence(parts, enforce_sorted=False))
    finals = final if kind is nn.LSTM else (final,)
    for n, (part, seen) in enumerate(zip(parts, rnn.unpack_sequence(out), strict=True)):
        wanted, last = layer(part)
        np.testing.assert_allclose(seen.detach().numpy(), wanted.detach().numpy(), rtol=1e-12, atol=1e-14)
        for got, want in zip(finals, last if kind is nn.LSTM else (last,), strict=True):
            np.testing.assert_allclose(got[:, n].detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_gradients_of_gradients() -> None:
    layer = nn.LSTM(2, 2, bidirectional=True, dtype=wg.float64)

    def f(x: Any) -> Any:
        return layer(x)[0].sin().sum()

    x = wg.randn(3, 2, dtype=wg.float64)
    hessian = wg.func.hessian(f)(x).reshape(6, 6)
    np.testing.assert_allclose(hessian.detach().numpy(), hessian.T.detach().numpy(), atol=1e-12)
    step = 1e-5
    column = (wg.func.grad(f)(x + step * wg.eye(3, 2, dtype=wg.float64)) - wg.func.grad(f)(x)) / step
    wanted = hessian @ wg.eye(3, 2, dtype=wg.float64).reshape(-1)
    np.testing.assert_allclose(column.detach().numpy().reshape(-1), wanted.detach().numpy(), atol=1e-4)


def test_dropout_lies_between_layers() -> None:
    layer = nn.GRU(3, 50, num_layers=2, dropout=0.5)
    x = wg.randn(4, 3)
    assert not wg.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert wg.equal(layer(x)[0], layer(x)[0])
    with pytest.warns(UserWarning, match="dropout acts between recurrent layers"):
        nn.RNN(2, 2, dropout=0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.LSTM(0, 2), "LSTM: input_size must be at least 1: 0"),
        (lambda: nn.LSTM(2, 2, proj_size=2), "proj_size has to be smaller than hidden_size: 2"),
        (lambda: nn.GRU(2, 2, dropout=1.5), "dropout should be a number in range [0, 1]: 1.5"),
        (lambda: nn.RNN(2, 2, nonlinearity="sin"), "nonlinearity must be 'tanh' or 'relu': 'sin'"),
        (lambda: nn.LSTM(2, 3)(wg.ones(4, 5)), "LSTM: the last dimension must be input_size, 2: shape (4, 5)"),
        (lambda: nn.LSTM(2, 3)(wg.ones(2)), "LSTM: Expected input to be 2D or 3D: shape (2,)"),
        (lambda: nn.GRU(2, 3)(wg.ones(0, 1, 2)), "GRU: Expected sequence length to be larger than 0"),
        (lambda: nn.GRU(2, 3)(wg.ones(4, 1, 2), wg.ones(1, 3)), "GRU: Expected hidden size (1, 1, 3), got (1, 3)"),
        (lambda: nn.GRUCell(2, 3)(wg.ones(1, 1, 2)), "GRUCell: Expected input to be 1D or 2D: shape (1, 1, 2)"),
        (lambda: rnn.pack_padded_sequence(wg.ones(3, 2), [2, 3]), "lengths must fall: [2, 3]"),
        (lambda: rnn.pack_padded_sequence(wg.ones(3, 2), [3, 0]), "lengths must be from 1 to 3: [3, 0]"),
        (lambda: rnn.pack_padded_sequence(wg.ones(3, 2), [3]), "expected 2 lengths: shape (1,)"),
        (lambda: rnn.pad_sequence([]), "expected a non-empty list of tensors"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=re.escape(words)):
        call()


def test_pad_sequence_on_both_sides() -> None:
    parts = [wg.tensor([1.0]), wg.tensor([2.0, 3.0])]
    assert rnn.pad_sequence(parts, padding_value=-1.0).tolist() == [[1.0, 2.0], [-1.0, 3.0]]
    assert rnn.pad_sequence(parts, batch_first=True, padding_side="left").tolist() == [[0.0, 1.0], [2.0, 3.0]]
    back = rnn.unpad_sequence(rnn.pad_sequence(parts), [1, 2])
    assert [part.tolist() for part in back] == [[1.0], [2.0, 3.0]]


def test_padding_again() -> None:
    x = wg.arange(6.0).reshape(3, 2).requires_grad_()
    packed = rnn.pack_padded_sequence(x, [1, 3], enforce_sorted=False)
    assert packed.data.tolist() == [1.0, 0.0, 3.0, 5.0]
    assert packed.batch_sizes.tolist() == [2, 1, 1]
    padded, lengths = rnn.pad_packed_sequence(packed, padding_value=9.0, total_length=4)
    assert padded.tolist() == [[0.0, 1.0], [9.0, 3.0], [9.0, 5.0], [9.0, 9.0]]
    assert lengths.tolist() == [1, 3]
    padded.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    assert packed.to(wg.float64).data.dtype == wg.float64
    with pytest.raises(ValueError, match="total_length must be at least"):
        rnn.pad_packed_sequence(packed, total_length=2)
