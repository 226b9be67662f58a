"""What stands before the elementwise ops: promotion, broadcasting, lifting of numbers.

Each function made here has a fast path for the common case (floating tensors of one dtype,
nobody watching) and a general one. In the graph, broadcasts, casts and constants are always
explicit nodes; in eager mode a broadcast node keeps the small array, because NumPy broadcasts
by itself wherever the value is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE, Mode
from ..errors import DTypeError, ShapeError, message
from ..graph import handle
from ..graph.aval import Aval, describe
from ..graph.handle import Handle, apply, make_node, node_of, wrap
from ..graph.node import NO_ATTRS, Node
from ..ops.base import OPS
from ..ops.heavy import FEW

_EXPAND, _RESHAPE, _CAST, _FILL = OPS["expand"], OPS["reshape"], OPS["cast"], OPS["fill"]
_NUMBERS = (bool, int, float, complex)
_new = object.__new__
OPERANDS = (Handle, *_NUMBERS, np.ndarray, np.generic)

# What to do about results as long as values say, which programs cannot have.
SIZE_UNKNOWN = "How large the result is depends on values: use wg.where, whose shape does not, or call this outside"


# -- promotion -------------------------------------------------------------------------------


def result_type(*xs: Any) -> dt.dtype:
    """The dtype PyTorch would compute with: tensors with dimensions first, then 0-d tensors, then numbers.

    >>> import wengert as wg
    >>> wg.result_type(wg.ones(2, dtype=wg.int32), 2.5)
    wengert.float32
    """
    dims: list[dt.dtype] = []
    zeros: list[dt.dtype] = []
    numbers: list[dt.dtype] = []
    for x in xs:
        if isinstance(x, Handle):
            aval = x.aval
            (dims if aval.shape else zeros).append(dt.of(aval.dtype))
        elif isinstance(x, _NUMBERS):
            numbers.append(dt.python_dtype(x))
        else:
            x = np.asarray(x)
            (dims if x.shape else zeros).append(dt.of(x.dtype))
    return dt.combine_priorities(dims, zeros, numbers)


def cast(x: Any, target: dt.dtype) -> Any:
    """A handle of that dtype; numbers become 0-d constants, wrapping around as integers do."""
    if isinstance(x, Handle):
        if x.aval.dtype == target.np:
            return x
        out = apply(_CAST, (x,), {"dtype": target.np})
        if target.category < 2 and out._node is not None:  # integers carry no gradient
            if STATE.watchers:
                out._node.requires_grad = False
            else:
                out._node = None
        return out
    array = np.asarray(x)
    return wrap(array if array.dtype == target.np else STATE.quiet(array.astype, target.np))


def promote(name: str, xs: Sequence[Any], floating: bool = False) -> list[Any]:
    """Bring operands to one dtype; ``floating`` turns integers into the default dtype."""
    common: Any = None
    for x in xs:
        if not isinstance(x, Handle):
            break
        dtype = (x._value if x._value is not None else x.aval).dtype
        if common is None:
            common = dtype
        elif dtype is not common:
            break
    else:  # the common case: all have it
        if common is not None and (not floating or common in dt.INEXACT_NP):
            return list(xs)
    for x in xs:
        if not isinstance(x, OPERANDS):
            raise DTypeError(message(name, "operands must be tensors or numbers", type(x).__name__))
    target = result_type(*xs)
    if floating and target.category < 2:
        target = dt.get_default_dtype()
    return [cast(x, target) for x in xs]


def is_one(factor: Any) -> bool:
    """Whether a factor changes nothing; a tensor's number may change in a compiled function."""
    return not isinstance(factor, Handle) and factor == 1


def dtype_of(x: Any) -> Any:
    """NumPy dtype of a tensor, or of what a number stands for."""
    return x.aval.dtype if isinstance(x, Handle) else result_type(x).np


def to_inexact(x: Any) -> Any:
    """An integer tensor in the default dtype; others as they are."""
    return x if x.aval.dtype in dt.INEXACT_NP else cast(x, dt.get_default_dtype())


def constant_bool(x: Any, value: bool) -> Any:
    """The same answer for each element of ``x``."""
    return apply(_FILL, (x,), {"value": value, "dtype": dt.NP_BOOL})


# -- broadcasting ----------------------------------------------------------------------------


def broadcast_shape(name: str, avals: Sequence[Aval]) -> tuple[int, ...]:
    """The common shape, by NumPy's rule."""
    shapes = [a.shape for a in avals]
    rank = max((len(s) for s in shapes), default=0)
    out: list[int] = []
    for axis in range(-rank, 0):
        size = 1
        for s in shapes:
            n = s[axis] if -axis <= len(s) else 1
            if n != 1:
                if size not in (1, n):
                    raise ShapeError(
                        message(name, "shapes do not broadcast", describe(avals),
                                f"Sizes {size} and {n} meet at dimension {axis}; they must be equal or 1")
                    )  # fmt: skip
                size = n
        out.append(size)
    return tuple(out)


def _expansion(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape without the dimensions that repeat, and the axes along which the rest repeats."""
    extra = len(target) - len(shape)
    axes = [i for i in range(len(target)) if i < extra or (shape[i - extra] == 1 and target[i] != 1)]
    return tuple(n for i, n in enumerate(target) if i not in axes), tuple(axes)


def expand_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast a handle to ``shape`` by explicit nodes."""
    own = x.aval.shape
    if own == shape:
        return x
    if STATE.trace is not None and x._value is not None:  # a constant stays small in the graph
        STATE.trace.saw_read((x,))
        return wrap(np.broadcast_to(x._value, shape), _implicit_expand(node_of(x), x._value, shape))
    kept, axes = _expansion(own, shape)
    if kept != own:
        x = apply(_RESHAPE, (x,), {"shape": kept})
    return apply(_EXPAND, (x,), {"shape": shape, "axes": axes}) if axes else x


def _implicit_expand(n: Node, small: Any, shape: tuple[int, ...]) -> Node:
    """The nodes of a broadcast that NumPy has done by itself; they keep the small array."""
    kept, axes = _expansion(small.shape, shape)
    if kept != small.shape:
        attrs = {"shape": kept}
        n = Node(_RESHAPE, (n,), attrs, small.reshape(kept), None, n.requires_grad, n.code, n.lasti, n.scope)
    if not axes:
        return n
    attrs = {"shape": shape, "axes": axes}
    return Node(_EXPAND, (n,), attrs, small, Aval(shape, small.dtype), n.requires_grad, n.code, n.lasti, n.scope)


def record_elementwise(op: Any, xs: Sequence[Any], value: Any, attrs: dict[str, Any] = NO_ATTRS) -> Node:
    """The node of an elementwise op whose operands NumPy broadcast by itself."""
    shape = value.shape
    inputs: list[Node] = []
    for x in xs:
        v = x._value
        n = x._node
        if n is None:
            n = node_of(x)
        inputs.append(n if v.shape == shape else _implicit_expand(n, v, shape))
    return make_node(op, tuple(inputs), attrs, value, True, 3)


def carries_gradient(*xs: Any) -> bool:
    """Whether an op on these tensors is recorded for a gradient."""
    return STATE.grad and any(x._node is not None and x._node.requires_grad for x in xs)


def apply_elementwise(op: Any, xs: Sequence[Any], attrs: dict[str, Any] = NO_ATTRS) -> Any:
    """Apply an elementwise op to handles of any broadcastable shapes (dtypes already agree)."""
    avals = [x.aval for x in xs]
    if all(a.shape == avals[0].shape for a in avals):
        return apply(op, tuple(xs), attrs)
    shape = broadcast_shape(op.name, avals)
    if STATE.watchers or any(x._value is None for x in xs):
        return apply(op, tuple(expand_to(x, shape) for x in xs), attrs)
    try:
        value = STATE.run(op.numpy, *[x._value for x in xs], **attrs)
    except Exception:  # again with explicit broadcasts, for the message
        return apply(op, tuple(expand_to(x, shape) for x in xs), attrs)
    out = wrap(value)
    if op.differentiable and carries_gradient(*xs):
        out._node = record_elementwise(op, xs, value, attrs)
    return out


# -- makers of public functions ---------------------------------------------------------------


def unary(name: str, floating: bool = False, keeps_dtype: bool = True) -> Callable[..., Any]:
    """The public function of a unary elementwise op."""
    op = OPS[name]
    fast, large, differentiable = _fast_numpy(op), _large_numpy(op), op.differentiable

    def call(input: Any, *, out: Any = None) -> Any:
        if out is not None:
            return into(name, out, call(input))
        mode = STATE.mode
        try:
            v = input._value
            value = mode.run(fast if v.size < FEW else large, v)
            if value.dtype is v.dtype or not keeps_dtype:
                n = input._node
                if n is None or not (n.requires_grad and mode.grad and differentiable):
                    return wrap(value)
                return wrap(value, make_node(op, (n,), NO_ATTRS, value, True, 2, mode))
        except Exception:  # the general path does it again, and names what is wrong
            pass
        return general(input)

    def general(x: Any) -> Any:
        if not isinstance(x, Handle):
            if not isinstance(x, (np.ndarray, np.generic)):
                raise DTypeError(message(name, "needs a tensor", type(x).__name__, "Wrap it with wg.tensor(...)"))
            x = wrap(x)
        if floating and x.aval.dtype not in dt.INEXACT_NP:
            x = cast(x, dt.get_default_dtype())
        return apply(op, (x,))

    return _named(call, name, op)


def binary(name: str, floating: bool = False, keeps_dtype: bool = True, operator: bool = False) -> Callable[..., Any]:
    """The public function of a binary elementwise op.

    ``operator``: a method of Tensor, which leaves operands it does not know to the other side.
    """
    op = OPS[name]
    fast, large = _fast_numpy(op), _large_numpy(op)

    def call(input: Any, other: Any, *, out: Any = None) -> Any:
        if out is not None:
            return into(name, out, call(input, other))
        kind = type(other)
        if kind is float or kind is int:
            result = _with_number(op, fast, large, input, other, False, keeps_dtype)
            if result is not None:
                return result
        else:
            try:
                x, y = input._value, other._value
                dtype = x.dtype
                if dtype is y.dtype:
                    mode = STATE.mode
                    value = mode.run(fast if x.size < FEW > y.size else large, x, y)
                    if value.dtype is dtype or not keeps_dtype:
                        p, q = input._node, other._node
                        if (p is None and q is None) or not mode.grad:
                            result = _new(handle._class)  # `wrap`, written out: a call is a twentieth of all this
                            result._value = value
                            result._node = result._alias = None
                            return result
                        return _recorded(op, input, other, p, q, value, mode)
            except Exception:  # the general path does it again, and names what is wrong
                pass
        if operator and not isinstance(other, OPERANDS):
            return NotImplemented
        return _promoted(op, fast, large, input, other, floating, keeps_dtype)

    return _named(call, name, op)


def _promoted(op: Any, fast: Any, large: Any, x: Any, y: Any, floating: bool, keeps_dtype: bool) -> Any:
    """A binary op in the general case."""
    if type(x) is float or type(x) is int:
        result = _with_number(op, fast, large, y, x, True, keeps_dtype)
        if result is not None:
            return result
    return apply_elementwise(op, promote(op.name, (x, y), floating))


def _recorded(op: Any, a: Any, b: Any, p: Any, q: Any, value: Any, mode: Mode) -> Any:
    """The handle of a binary op's result, with a node where one of the operands' nodes carries a gradient."""
    if not ((p is not None and p.requires_grad) or (q is not None and q.requires_grad)) or not op.differentiable:
        return wrap(value)
    if a._value.shape == b._value.shape:
        return wrap(value, make_node(op, (p or node_of(a), q or node_of(b)), NO_ATTRS, value, True, 3, mode))
    return wrap(value, record_elementwise(op, (a, b), value))


def reflected(name: str, floating: bool = False) -> Callable[[Any, Any], Any]:
    """The method of Tensor for ``other op self``."""
    op = OPS[name]
    fast, large = _fast_numpy(op), _large_numpy(op)

    def call(self: Any, other: Any) -> Any:
        kind = type(other)
        result = None
        if kind is float or kind is int:
            result = _with_number(op, fast, large, self, other, True, True)
        if result is not None:
            return result
        if not isinstance(other, OPERANDS):
            return NotImplemented
        return apply_elementwise(op, promote(name, (other, self), floating))

    return _named(call, f"__r{name}__", op)


def _with_number(op: Any, fast: Any, large: Any, x: Any, number: Any, swapped: bool, keeps_dtype: bool) -> Any:
    """``op(x, number)`` on a float or an int, or swapped; None where the general path must see to it."""
    try:
        v = x._value
        d = v.dtype
        if d not in dt.FLOATING_NP and (type(number) is float or d is dt.NP_BOOL):
            return None
        state = STATE.mode
        small = state.quiet(np.array, number, d)
        f = fast if v.size < FEW else large
        value = state.run(f, small, v) if swapped else state.run(f, v, small)
        if keeps_dtype and value.dtype is not d:
            return None
    except Exception:  # the general path does it again, and names what is wrong
        return None
    result = wrap(value)
    n = x._node
    if n is not None and n.requires_grad and state.grad and op.differentiable:
        constant = Node(None, (), NO_ATTRS, small, None, False)
        shape = v.shape
        if shape:
            attrs = {"shape": shape, "axes": tuple(range(len(shape)))}
            constant = Node(_EXPAND, (constant,), attrs, small, Aval(shape, d), False)
        result._node = make_node(op, (constant, n) if swapped else (n, constant), NO_ATTRS, value, True, 3)
    return result


def into(name: str, out: Any, result: Any) -> Any:
    """The ``out=`` argument: write a result into an existing tensor."""
    from .inplace import into as write

    return write(name, out, result)


def _fast_numpy(op: Any) -> Callable[..., Any]:
    """NumPy's own function where it means the same for every dtype, else the op's reference."""
    return op.numpy if op.ufunc is None else op.ufunc


def _large_numpy(op: Any) -> Callable[..., Any]:
    """The same for operands of some size: by a kernel where the result is large."""
    ufunc = op.ufunc
    if ufunc is None:
        return op.numpy

    def run(*xs: Any) -> Any:
        found = op.by_kernel(xs, NO_ATTRS)
        return ufunc(*xs) if found is None else found

    return run


def _named(call: Callable[..., Any], name: str, op: Any) -> Callable[..., Any]:
    call.__name__ = call.__qualname__ = name
    call.__doc__ = op.__doc__
    return call
