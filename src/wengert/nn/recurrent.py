"""Recurrent layers and their cells.

A layer projects its whole input at once and scans over time with the small step that is left. The step
works gate by gate, so that no gradient of a slice has to be put back into a large array.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..functional.formula import formula
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import check_size
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

State = tuple[Any, ...]  # h, or (h, c)
Step = Callable[[State, Sequence[Any]], tuple[State, Any]]


# --- one step --------------------------------------------------------------------------------------------


class Weights(NamedTuple):
    """The parameters of one layer in one direction; the biases and the projection may be None."""

    ih: Any
    hh: Any
    bias_ih: Any = None
    bias_hh: Any = None
    hr: Any = None


def _rnn_step(weights: Weights, activation: Callable[[Any], Any]) -> Step:
    """``h' = activation(W x + b + U h)``."""
    u = weights.hh.T

    def step(state: State, gates: Sequence[Any]) -> tuple[State, Any]:
        h = activation(gates[0] + state[0] @ u)
        return (h,), h

    return step


def _lstm_step(weights: Weights) -> Step:
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    ui, uf, ug, uo = (part.T for part in weights.hh.chunk(4))
    project = None if weights.hr is None else weights.hr.T

    def step(state: State, gates: Sequence[Any]) -> tuple[State, Any]:
        h, c = state
        i, f, g, o = gates
        i, f, o = api.sigmoid(i + h @ ui), api.sigmoid(f + h @ uf), api.sigmoid(o + h @ uo)
        c = f * c + i * api.tanh(g + h @ ug)
        h = o * api.tanh(c)
        if project is not None:
            h = h @ project
        return (h, c), h

    return step


def _gru_step(weights: Weights) -> Step:
    """Cho et al. 2014; the reset gate is applied after the product with U, as in cuDNN."""
    ur, uz, un = (part.T for part in weights.hh.chunk(3))
    bias = None if weights.bias_hh is None else weights.bias_hh.chunk(3)[2]

    def step(state: State, gates: Sequence[Any]) -> tuple[State, Any]:
        (h,) = state
        r, z, n = gates
        r, z = api.sigmoid(r + h @ ur), api.sigmoid(z + h @ uz)
        inner = h @ un
        n = api.tanh(n + r * (inner if bias is None else inner + bias))
        h = n + z * (h - n)
        return (h,), h

    return step


def _step(mode: str, weights: Weights) -> Step:
    if mode == "LSTM":
        return _lstm_step(weights)
    if mode == "GRU":
        return _gru_step(weights)
    return _rnn_step(weights, api.tanh if mode == "RNN_TANH" else api.relu)


GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


@formula
def _gates(mode: str, x: Any, ih: Any, ours: Any, theirs: Any) -> tuple[Any, ...]:
    """What the input contributes to each gate, for all steps at once; the biases may be None.

    One formula, so that the adjoints that the gates send to the input, and those of the parts of a weight, meet in
    memory once.
    """
    count = GATES[mode]
    parts = ih.chunk(count)
    if ours is None:
        return tuple(F.linear(x, part) for part in parts)
    # The GRU's last bias_hh stands inside the reset gate and belongs to the step.
    pairs = enumerate(zip(ours.chunk(count), theirs.chunk(count), strict=True))
    biases = [a if mode == "GRU" and k == 2 else a + b for k, (a, b) in pairs]
    return tuple(F.linear(x, part, bias) for part, bias in zip(parts, biases, strict=True))


# --- all steps -------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """Successive steps of a packed sequence with the same number of rows."""

    start: int
    steps: int
    rows: int

    def of(self, x: Any) -> Any:
        """Their part of the packed rows, (steps, rows, *)."""
        return x[self.start : self.start + self.steps * self.rows].reshape(self.steps, self.rows, x.shape[-1])


def _runs(sizes: Sequence[int]) -> list[Run]:
    runs: list[Run] = []
    start = 0
    for size in sizes:
        if runs and runs[-1].rows == size:
            runs[-1] = runs[-1]._replace(steps=runs[-1].steps + 1)
        else:
            runs.append(Run(start, 1, size))
        start += size
    return runs


def _scan_packed(
    step: Step, state: State, gates: Sequence[Any], runs: Sequence[Run], reverse: bool
) -> tuple[State, Any]:
    """Scan over packed rows: sequences end on the way (or, in reverse, begin), the longest first."""
    outputs: list[Any] = []
    ended: list[State] = []
    carry = state
    if reverse:
        carry = tuple(part[: runs[-1].rows] for part in state)
    for run in reversed(runs) if reverse else runs:
        rows = carry[0].shape[0]
        if rows > run.rows:
            ended.append(tuple(part[run.rows :] for part in carry))
            carry = tuple(part[: run.rows] for part in carry)
        elif rows < run.rows:
            carry = tuple(api.cat([part, more[rows : run.rows]]) for part, more in zip(carry, state, strict=True))
        carry, out = api.scan(step, carry, tuple(run.of(gate) for gate in gates), reverse=reverse)
        outputs.append(out.reshape(run.steps * run.rows, out.shape[-1]))
    final = tuple(api.cat(list(parts)) for parts in zip(carry, *reversed(ended), strict=True)) if ended else carry
    return final, api.cat(outputs[::-1] if reverse else outputs)


class RNNBase(Module):
    """What recurrent layers share; `LSTM` describes the arguments."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.mode = mode
        self.input_size = check_size(name, "input_size", input_size, 1)
        self.hidden_size = check_size(name, "hidden_size", hidden_size, 1)
        self.num_layers = check_size(name, "num_layers", num_layers, 1)
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.proj_size = float(dropout), check_size(name, "proj_size", proj_size)
        if not 0 <= self.dropout <= 1:
            raise ArgumentError(message(name, "dropout should be a number in range [0, 1]", str(dropout)))
        if self.proj_size >= self.hidden_size:
            raise ArgumentError(message(name, "proj_size has to be smaller than hidden_size", str(proj_size)))
        if self.dropout and self.num_layers == 1:
            warnings.warn("dropout acts between recurrent layers, and there is only one", stacklevel=3)
        out = self.proj_size or self.hidden_size
        rows = GATES[mode] * self.hidden_size
        for layer in range(self.num_layers):
            columns = self.input_size if layer == 0 else out * self._directions()
            shapes = [(rows, columns), (rows, out)] + [(rows,), (rows,)] * bias
            shapes += [(self.proj_size, self.hidden_size)] * bool(self.proj_size)
            for direction in range(self._directions()):
                for key, shape in zip(self._names(layer, direction), shapes, strict=True):
                    self.register_parameter(key, Parameter(api.empty(*shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _names(self, layer: int, direction: int) -> list[str]:
        kinds = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * self.bias + ["weight_hr"] * bool(self.proj_size)
        return [f"{kind}_l{layer}{'_reverse' * direction}" for kind in kinds]

    def _weights(self, layer: int, direction: int) -> Weights:
        found = [getattr(self, name) for name in self._names(layer, direction)]
        hr = found.pop() if self.proj_size else None
        return Weights(*found)._replace(hr=hr)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        both = [(layer, way) for layer in range(self.num_layers) for way in range(self._directions())]
        return [[getattr(self, name) for name in self._names(*which)] for which in both]

    def flatten_parameters(self) -> None:
        """Do nothing: PyTorch's programs call it for cuDNN."""

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform over ±1/√hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    # --- running -------------------------------------------------------------------------------------

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if self.mode == "LSTM" else 1]

    def _start(self, hx: Any, batch: int, like: Any, single: bool, order: Any) -> State:
        """The state before the first step, (layers · directions, N, H) each."""
        layers = self.num_layers * self._directions()
        if hx is None:
            return tuple(api.zeros(layers, batch, size, dtype=like.dtype) for size in self._state_sizes())
        given = tuple(hx) if self.mode == "LSTM" else (hx,)
        for part, size in zip(given, self._state_sizes(), strict=True):
            wanted = (layers, size) if single else (layers, batch, size)
            if tuple(part.shape) != wanted:
                seen = f"got {tuple(part.shape)}"
                raise ShapeError(message(type(self).__name__, f"Expected hidden size {wanted}, {seen}"))
        given = tuple(part.unsqueeze(1) for part in given) if single else given
        return given if order is None else tuple(part.index_select(1, order) for part in given)

    def _run(self, x: Any, state: State, runs: Sequence[Run] | None) -> tuple[Any, State]:
        """All layers over (T, N, *), or over packed rows."""
        finals: list[State] = []
        ways = self._directions()
        for layer in range(self.num_layers):
            outputs = []
            for way in range(ways):
                weights = self._weights(layer, way)
                step, gates = (
                    _step(self.mode, weights),
                    _gates(self.mode, x, weights.ih, weights.bias_ih, weights.bias_hh),
                )
                start = tuple(part[layer * ways + way] for part in state)
                if runs is None:
                    final, out = api.scan(step, start, gates, reverse=way == 1)
                else:
                    final, out = _scan_packed(step, start, gates, runs, way == 1)
                finals.append(final)
                outputs.append(out)
            x = outputs[0] if ways == 1 else api.cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(api.stack(list(parts)) for parts in zip(*finals, strict=True))

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.ndim not in (2, 3):
            seen = f"shape {tuple(input.shape)}"
            raise ShapeError(message(type(self).__name__, "Expected input to be 2D or 3D", seen))
        single = input.ndim == 2
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
        self._check_features(input)
        if x.shape[0] == 0:
            raise ShapeError(message(type(self).__name__, "Expected sequence length to be larger than 0"))
        out, final = self._run(x, self._start(hx, x.shape[1], x, single, None), None)
        if single:
            out, final = out.squeeze(1), tuple(part.squeeze(1) for part in final)
        elif self.batch_first:
            out = out.transpose(0, 1)
        return out, final if self.mode == "LSTM" else final[0]

    def _forward_packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        self._check_features(input.data)
        sizes = input.batch_sizes.tolist()
        state = self._start(hx, sizes[0], input.data, False, input.sorted_indices)
        out, final = self._run(input.data, state, _runs(sizes))
        if input.unsorted_indices is not None:
            final = tuple(part.index_select(1, input.unsorted_indices) for part in final)
        packed = PackedSequence(out, *input[1:])
        return packed, final if self.mode == "LSTM" else final[0]

    def _check_features(self, x: Any) -> None:
        if x.shape[-1] != self.input_size:
            wanted = f"the last dimension must be input_size, {self.input_size}"
            raise ShapeError(message(type(self).__name__, wanted, f"shape {tuple(x.shape)}"))

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0}
        for name, value in (usual | {"bidirectional": False}).items():
            if getattr(self, name) != value:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(RNNBase):
    """``h' = tanh(W x + b + U h + b')`` along a sequence (Elman 1990), or with ReLU.

    Args:
        nonlinearity: "tanh" or "relu"; the other arguments are those of `LSTM`, without ``proj_size``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            _rnn_mode("RNN", nonlinearity), input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, 0, device, dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


def _rnn_mode(name: str, nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(message(name, "nonlinearity must be 'tanh' or 'relu'", repr(nonlinearity)))
    return f"RNN_{nonlinearity.upper()}"


class LSTM(RNNBase):
    """Long short-term memory along a sequence. Source: Hochreiter & Schmidhuber 1997.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        num_layers: layers, each reading the one below.
        bias: whether there are biases, two for each gate.
        batch_first: whether input and output are (N, T, *) instead of (T, N, *).
        dropout: probability of dropping a value between two layers while training.
        bidirectional: whether a second set of weights runs backwards; outputs are put side by side.
        proj_size: if positive, h is projected to that many features.

    Shape:
        input (T, N, input_size), (T, input_size) or a `PackedSequence`, and (h, c), each (layers ·
        directions, N, features), zeros if left out. Output the h of the last layer at each step,
        (T, N, directions · features), and the last (h, c).

    >>> import wengert as wg
    >>> lstm = wg.nn.LSTM(10, 20, num_layers=2)
    >>> output, (h, c) = lstm(wg.randn(5, 3, 10))
    >>> output.shape, h.shape
    (wengert.Size([5, 3, 20]), wengert.Size([2, 3, 20]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units along a sequence. Source: Cho et al. 2014.

    The arguments are those of `LSTM`, without ``proj_size``; the state is h alone.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


# --- cells -----------------------------------------------------------------------------------------------


class RNNCellBase(Module):
    """One step of a recurrent layer, for loops of one's own."""

    mode = ""
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = check_size(type(self).__name__, "input_size", input_size)
        self.hidden_size = check_size(type(self).__name__, "hidden_size", hidden_size)
        self.bias = bias
        rows = GATES[self.mode] * self.hidden_size
        self.weight_ih = Parameter(api.empty(rows, self.input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(api.empty(rows, self.hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(api.empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform over ±1/√hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _advance(self, input: Tensor, state: Sequence[Tensor] | None) -> State:
        if input.ndim not in (1, 2):
            seen = f"shape {tuple(input.shape)}"
            raise ShapeError(message(type(self).__name__, "Expected input to be 1D or 2D", seen))
        if state is None:
            zeros = api.zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype)
            state = (zeros,) * (2 if self.mode == "LSTM" else 1)
        weights = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return _step(self.mode, weights)(
            tuple(state), _gates(self.mode, input, weights.ih, weights.bias_ih, weights.bias_hh)
        )[0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else f", bias={self.bias}")


class RNNCell(RNNCellBase):
    """One step of `RNN`: ``cell(input, h)`` gives the next h."""

    mode = "RNN_TANH"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity
        self.mode = _rnn_mode("RNNCell", nonlinearity)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._advance(input, None if hx is None else (hx,))[0]

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class GRUCell(RNNCellBase):
    """One step of `GRU`: ``cell(input, h)`` gives the next h."""

    mode = "GRU"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._advance(input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of `LSTM`: ``cell(input, (h, c))`` gives the next (h, c).

    >>> import wengert as wg
    >>> h, c = wg.nn.LSTMCell(10, 20)(wg.randn(3, 10))
    >>> h.shape, c.shape
    (wengert.Size([3, 20]), wengert.Size([3, 20]))
    """

    mode = "LSTM"

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = self._advance(input, hx)
        return h, c
