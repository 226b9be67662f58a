"""The handle to a node, and the one function by which every op is applied.

`Handle` is what `wengert.tensor.Tensor` extends with PyTorch's methods. It holds the value, the
node when there is one, and what it shares memory with. This file knows no op.
"""

from __future__ import annotations

import weakref
from sys import _getframe
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE, Detour, Mode, quietly
from ..errors import INTERNAL, USERS, AnomalyError, TraceError, WengertError, message, user_frame
from .aval import Aval, aval_of, describe
from .node import NO_ATTRS, Node, item_node, next_seq


class Handle:
    """Value, node and alias of a tensor.

    ``_value``: the NumPy array (or NumPy scalar for 0-d results), None while tracing.
    ``_node``: the graph node, None while nothing has recorded the tensor.
    ``_alias``: which tensors share its memory (see graph/alias.py), None if none.
    """

    __slots__ = ("__dict__", "__weakref__", "_alias", "_node", "_value")
    _value: Any
    _node: Node | None
    _alias: Any

    if TYPE_CHECKING:  # every handle is a Tensor at run time; its methods are attached in tensor.py

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Any: ...
        def __add__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __radd__(self, other: Any) -> Any: ...
        def __rsub__(self, other: Any) -> Any: ...
        def __rmul__(self, other: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __lt__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __index__(self) -> int: ...

    @property
    def aval(self) -> Aval:
        """Shape and NumPy dtype."""
        value = self._value
        if value is None:
            assert self._node is not None
            return self._node.aval
        return _tuple(Aval, (value.shape, value.dtype))  # half the time of Aval(...)


_tuple = tuple.__new__

_class: type = Handle  # of new handles; tensor.py sets it to Tensor


def set_handle_class(cls: type) -> None:
    """Let ops return this class."""
    global _class
    _class = cls


_new = object.__new__  # past Tensor's own constructor, which copies data


def wrap(value: Any, node: Node | None = None) -> Any:
    """A new handle."""
    out = _new(_class)
    out._value = value
    out._node = node
    out._alias = None
    return out


def of_node(node: Node) -> Any:
    """A handle to a node that exists."""
    return wrap(node.value, node)


def lift(x: Any, like: Any = None) -> Any:
    """Make a handle of an array or a number; ``like`` gives a number its dtype."""
    if isinstance(x, Handle):
        return x
    if isinstance(x, (np.ndarray, np.generic)):
        return wrap(x)
    target = None if like is None else like.aval.dtype
    return wrap(np.asarray(x, dtype=target))


def node_of(x: Handle) -> Node:
    """The node of a handle; a tensor that no graph knows becomes a leaf."""
    node = x._node
    if node is None:
        trace = STATE.trace
        if trace is not None and x._alias is not None and (node := trace.behind(x)) is not None:
            return node
        node = x._node = Node(None, (), NO_ATTRS, x._value, None, False)
        if x._alias is not None:
            x._alias.pin(node)
        if trace is not None:
            trace.saw_leaf(x, node)
        if STATE.recorder is not None:
            STATE.recorder.add(node)
    return node


def symbol(aval: Aval, requires_grad: bool) -> Any:
    """A handle without a value: the input of a trace."""
    return wrap(None, Node(None, (), NO_ATTRS, None, aval, requires_grad))


def make_node(
    op: Any,
    inputs: tuple[Node, ...],
    attrs: dict[str, Any],
    data: Any,
    requires_grad: bool,
    depth: int = 2,
    mode: Mode | None = None,
) -> Node:
    """A node with the user's line and the current scope.

    ``depth``: how many frames from here on, this one included, are known to be the package's own.
    ``mode``: of the thread, from those who have it at hand.
    """
    # What `Node` and `user_frame` do, written out: calling them is half of what a node costs.
    node = _new(Node)
    node.op = op
    node.inputs = inputs
    node.attrs = attrs
    node.data = data
    node.requires_grad = requires_grad
    node.scope = (mode or STATE.mode).scope
    node._aval = node.sink = node.saved = None
    node.seq = next_seq()
    frame: Any = _getframe(depth)
    try:
        while id(frame.f_code) in INTERNAL:
            frame = frame.f_back
        code = frame.f_code
        if id(code) not in USERS:  # seen for the first time
            frame = user_frame(frame)
            code = frame.f_code
        node.code = code
        node.lasti = frame.f_lasti
    except AttributeError:  # there is no user's frame
        node.code = None
        node.lasti = 0
    return node


def apply(op: Any, xs: tuple[Any, ...], attrs: dict[str, Any] = NO_ATTRS) -> Any:
    """Compute an op on handles and record it where something needs it.

    Returns a handle, or a tuple of handles for an op with several results.
    """
    state = STATE.mode
    values: list[Any] = []
    tracked = False
    for x in xs:
        v = x._value
        if v is None:
            return _apply_watched(op, xs, attrs)
        values.append(v)
        n = x._node
        if n is not None and n.requires_grad:
            tracked = True
    recorded = tracked and state.grad and op.differentiable
    saved = None
    try:
        if recorded and op.forward_with_pullback is not None:
            if state.watchers:
                return _apply_watched(op, xs, attrs)
            value, saved = quietly(op.forward_with_pullback, values, attrs, _needs(xs))
        else:
            value = state.run(op.numpy, *values, **attrs)
    except Detour:
        return _apply_watched(op, xs, attrs)
    except Exception as error:
        raise explain(op, xs, attrs, error) from error
    if not recorded:
        return tuple([wrap(v) for v in value]) if type(value) is tuple else unrecorded(value, xs)
    node = make_node(op, tuple([node_of(x) for x in xs]), attrs, value, True)
    node.saved = saved
    return results(node, value)


# How a result that lies in an operand's memory is noted; graph/alias.py sets it.
_lend: list[Any] = []


def set_lender(lend: Any) -> None:
    """Let ``lend(x, out)`` note that ``out`` lies in the memory of ``x``."""
    _lend.append(lend)


def unrecorded(value: Any, xs: tuple[Any, ...]) -> Any:
    """The handle of a result that no graph knows; it may be a part of an operand instead of a copy."""
    out = wrap(value)
    if value.base is not None or (xs and value is xs[0]._value):
        for x in xs:
            v = x._value
            if value is v or (type(v) is np.ndarray and np.may_share_memory(value, v)):
                _lend[0](x, out)
                break
    return out


def _needs(xs: tuple[Any, ...]) -> tuple[bool, ...]:
    """Which operands carry a gradient."""
    return tuple([x._node is not None and x._node.requires_grad for x in xs])


def results(node: Node, value: Any) -> Any:
    """Handles of a node's result or results; integer results of a tuple carry no gradient."""
    avals = node.aval if value is None else value
    if type(avals) is not tuple:
        return wrap(value, node)
    parts: list[Any] = []
    for i, a in enumerate(avals):
        v = None if value is None else value[i]
        child = item_node(node, i, v, node.requires_grad and a.dtype in dt.INEXACT_NP)
        if STATE.recorder is not None:
            STATE.recorder.add(child)
        parts.append(wrap(v, child))
    return tuple(parts)


def _apply_watched(op: Any, xs: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    """The general path: tracing, recording, anomaly detection."""
    state = STATE.mode
    symbolic = any([x._value is None for x in xs])
    if state.trace is not None:
        state.trace.saw_read(xs)
        symbolic = symbolic or state.trace.captures_all
    elif symbolic:
        raise TraceError(
            message(op.name, "a tensor of a finished trace was used", describe(x.aval for x in xs),
                    "Return it from the traced function instead of keeping it")
        )  # fmt: skip
    trace = state.trace
    if symbolic and trace is not None and not state.grad and op.differentiable:
        xs = tuple([trace.stopped(x) for x in xs])  # a replay has a grad mode of its own: say it in the graph
    tracked = state.grad and op.differentiable and any(_needs(xs))
    saved = None
    if symbolic:
        value, avals = None, op.infer(*[x.aval for x in xs], **attrs)
    else:
        values, avals = [x._value for x in xs], None
        try:
            if tracked and op.forward_with_pullback is not None:
                value, saved = quietly(op.forward_with_pullback, values, attrs, _needs(xs))
            else:
                value = state.quiet(op.numpy, *values, **attrs)
        except Exception as error:
            raise explain(op, xs, attrs, error) from error
        if state.anomaly:
            check_finite(op.name, value, values, None)
    if not (symbolic or tracked or state.recorder is not None):
        return tuple(wrap(v) for v in value) if type(value) is tuple else unrecorded(value, xs)
    node = make_node(op, tuple([node_of(x) for x in xs]), attrs, value, tracked)
    node._aval, node.saved = avals, saved
    if state.recorder is not None:
        state.recorder.add(node)
    return results(node, value)


def has_nan(value: Any) -> bool:
    """Whether an array, or one of a tuple of arrays, holds a NaN."""
    if type(value) is tuple:
        return any(has_nan(v) for v in value)
    return value is not None and value.dtype in dt.INEXACT_NP and bool(np.isnan(value).any())


def check_finite(name: str, value: Any, inputs: list[Any], made_at: str | None) -> None:
    """Raise if an op made a NaN out of inputs that had none."""
    if has_nan(value) and not any(has_nan(v) for v in inputs):
        seen = describe(aval_of(v) for v in inputs if v is not None)
        text = message(name, "made the first NaN", seen, "Look at the range of its inputs")
        raise AnomalyError(text if made_at is None else f"{text} The forward op stands at {made_at}.")


def explain(op: Any, xs: tuple[Any, ...], attrs: dict[str, Any], error: Exception) -> Exception:
    """Turn a failure inside NumPy into an error with op, shapes, dtypes and the user's line."""
    if isinstance(error, (WengertError, MemoryError)):
        return error
    avals = [x.aval for x in xs]
    try:
        op.infer(*avals, **attrs)  # the shape rule knows best what is wrong
    except WengertError as better:
        return better
    except Exception:  # the shape rule itself stumbled over the bad input: report what NumPy said
        pass
    return WengertError(message(op.name, f"failed with {type(error).__name__}: {error}", describe(avals)))


def weak(x: Any) -> Any:
    """A weak reference, so that graphs never form cycles through tensors."""
    return weakref.ref(x)
