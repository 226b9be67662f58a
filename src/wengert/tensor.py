"""The Tensor: a handle to a node with PyTorch's methods.

What a tensor *is* stands in graph/handle.py and graph/alias.py; what its methods *do* stands in
functional/. This file joins the two: attributes, operators, autograd, and the table of methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import dtypes as dt
from .config import CHANGES, STATE, no_grad
from .devices import CPU, device
from .errors import DTypeError, GraphError, TraceError, message
from .functional import pointwise as pw
from .functional.methods import METHODS
from .graph.alias import assign, become_leaf, detached, separate
from .graph.handle import Handle, make_node, node_of, set_handle_class, wrap
from .graph.node import NO_ATTRS, Node, Sink
from .transform.backward import backward as _backward


class Size(tuple[int, ...]):
    """A shape; a tuple of ints with ``numel()``."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        n = 1
        for k in self:
            n *= k
        return n

    def __repr__(self) -> str:
        return f"wengert.Size({list(self)})"

    def __getitem__(self, i: Any) -> Any:
        out = tuple.__getitem__(self, i)
        return Size(out) if isinstance(i, slice) else out

    def __add__(self, other: Any) -> Any:
        return Size(tuple.__add__(self, tuple(other)))


class HookHandle:
    """Returned when a hook is registered; ``remove()`` takes it off."""

    _next = 0

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        self.hooks = hooks
        self.id = HookHandle._next = HookHandle._next + 1
        hooks[self.id] = hook
        CHANGES()

    def remove(self) -> None:
        """Take the hook off; a second call does nothing."""
        self.hooks.pop(self.id, None)
        CHANGES()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def _sink_behind(node: Node | None) -> Sink | None:
    """Where a tensor's gradient goes, also after its memory was written in a trace, which `substitute` stands for."""
    while node is not None and node.sink is None and node.op is not None and node.op.name == "substitute":
        node = node.inputs[0]
    return None if node is None else node.sink


_READ_LATER = "Return the tensor and read it after the call, or use wg.cond or wg.while_loop for control flow on values"


class Tensor(Handle):
    """A multi-dimensional array that remembers how it was computed.

    Make one with `tensor`, `zeros`, `randn` and so on; ``Tensor(data)`` copies data to the default
    dtype, ``Tensor(2, 3)`` makes an uninitialised one of that shape, as in PyTorch.

    >>> import wengert as wg
    >>> x = wg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ()
    __array_priority__ = 1000
    _value: Any
    _node: Node | None
    _alias: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """An empty handle; `__init__`, a copy or an unpickling fills it."""
        self = object.__new__(cls)
        self._value = self._node = self._alias = None
        return self

    def __init__(self, *data: Any) -> None:
        default = dt.get_default_dtype().np
        if data and all(isinstance(d, int) for d in data):
            self._value = np.zeros(data, default)
        elif len(data) == 1 and isinstance(data[0], Handle):
            self._value = np.array(data[0]._value)
        else:
            self._value = np.array(data[0] if data else [], default)

    # -- attributes ------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The shape, as a `Size`."""
        value = self._value
        return Size(value.shape if value is not None else self.aval.shape)

    @property
    def dtype(self) -> dt.dtype:
        """The data type."""
        return dt.of(self.aval.dtype)

    @property
    def device(self) -> device:
        """The device (the CPU)."""
        return CPU

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        value = self._value
        return value.ndim if value is not None else len(self.aval.shape)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        node = self._node
        return node is not None and node.requires_grad

    @requires_grad.setter
    def requires_grad(self, mode: bool) -> None:
        self.requires_grad_(mode)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether this leaf should get a gradient; returns the tensor itself."""
        node = self._node
        if node is not None and node.requires_grad == bool(requires_grad):
            return self
        sink = _sink_behind(node)
        if node is not None and node.requires_grad and node.op is not None and node.op.name != "substitute":
            raise GraphError(
                message("requires_grad_", "only leaves can change it", str(self.aval), "Use x.detach() instead")
            )
        if requires_grad and self.aval.dtype not in dt.INEXACT_NP:
            raise DTypeError(
                message("requires_grad_", "only floating and complex tensors can require grad", str(self.aval),
                        "Convert with x.float()")
            )  # fmt: skip
        if STATE.trace is not None:
            STATE.trace.saw_flag(self)
        if requires_grad and not become_leaf(self):
            separate(self)
        if self._value is not None and not isinstance(self._value, np.ndarray):
            self._value = np.array(self._value)
        if self._value is None:  # traced: what made it stays, and gradients end here
            from .ops.base import OPS

            op = OPS["identity" if requires_grad else "stop_gradient"]
            fresh = make_node(op, (node_of(self),), NO_ATTRS, None, bool(requires_grad))
            fresh._aval = self.aval
        else:
            value = self._value
            fresh = Node(None, (), NO_ATTRS, value, None if value is not None else self.aval, bool(requires_grad))
        fresh.sink = Sink() if sink is None and requires_grad else sink
        self._node = fresh
        CHANGES()
        if self._alias is not None:
            self._alias.pin(fresh)
            self._alias.leaf = fresh.sink if self._alias.base is not None else None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor is not the result of a recorded op."""
        node = self._node
        return node is None or node.op is None or not node.requires_grad

    @property
    def node(self) -> Node:
        """The vertex of the graph; a tensor no graph knows becomes a leaf."""
        return node_of(self)

    @property
    def producing_op(self) -> Any:
        """The op whose result this is; None for a leaf."""
        return None if self._node is None else self._node.op

    @property
    def grad_fn(self) -> Node | None:
        """The node to which a gradient is passed; None for a leaf."""
        return None if self.is_leaf else self._node

    @property
    def grad(self) -> Any:
        """The gradient summed so far, or None."""
        sink = _sink_behind(self._node)
        if sink is None:
            return None
        if STATE.trace is not None:
            STATE.trace.saw_grad(sink, True)
        return sink.grad

    @grad.setter
    def grad(self, value: Any) -> None:
        node = self._node
        sink = None if node is None else node.sink or _sink_behind(node)
        trace = STATE.mode.trace
        if trace is not None and sink is not None:
            trace.saw_grad(sink, False)
        if value is None:
            if sink is not None:
                sink.grad = None
            return
        if not isinstance(value, Handle) or value.aval != self.aval:
            seen = str(value.aval) if isinstance(value, Handle) else type(value).__name__
            raise GraphError(message("grad", "must be a tensor like the tensor itself", f"{seen} for {self.aval}"))
        self._sink().grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def _sink(self) -> Sink:
        node = node_of(self)
        sink = _sink_behind(node)
        if sink is None:
            sink = node.sink = Sink(retain=node.op is None)
        return sink

    @property
    def data(self) -> Any:
        """The same memory without history."""
        return detached(self)

    @data.setter
    def data(self, value: Handle) -> None:
        trace = STATE.trace
        if trace is not None and (trace.captures_all or value._value is None):
            self._set_data_traced(value)
            return
        old = self._node
        if self._value is None or value._value is None or self.aval != value.aval:
            CHANGES()
        self._value = np.asarray(value._value)
        self._alias = None
        if old is None or not old.requires_grad:
            self._node = None
            return
        fresh = Node(None, (), NO_ATTRS, self._value, None, True)
        fresh.sink = old.sink
        self._node = fresh

    def _set_data_traced(self, value: Handle) -> None:
        """In a trace there is no memory to take over: what is set are values."""
        if self.aval != value.aval:
            raise TraceError(
                message("data", "a traced function cannot change the shape or dtype of a tensor",
                        f"{self.aval} to {value.aval}", "Do it outside, or bind a new tensor")
            )  # fmt: skip
        with no_grad():
            assign("data", self, value)

    # -- autograd --------------------------------------------------------------------------

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Sum d self / d leaf into ``.grad`` of every leaf; see `wengert.autograd.backward`."""
        _backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self) -> Any:
        """The same memory without history."""
        return detached(self)

    def detach_(self) -> Tensor:
        """Drop the history of this tensor."""
        self._node = None
        if self._alias is not None:
            self._alias.leaf = None
        return self

    def retain_grad(self) -> None:
        """Keep ``.grad`` of this result when a gradient passes."""
        if not self.requires_grad:
            raise GraphError(message("retain_grad", "the tensor does not require grad", str(self.aval)))
        self._sink().retain = True

    @property
    def retains_grad(self) -> bool:
        """Whether a result keeps its gradient."""
        return not self.is_leaf and self._node is not None and self._node.sink is not None and self._node.sink.retain

    def register_hook(self, hook: Callable[[Any], Any]) -> HookHandle:
        """Call ``hook(grad)`` when the gradient is computed; what it returns replaces it."""
        if not self.requires_grad:
            raise GraphError(message("register_hook", "the tensor does not require grad", str(self.aval)))
        return HookHandle(self._sink().hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], Any]) -> HookHandle:
        """Call ``hook(tensor)`` after ``.grad`` of this leaf has been updated."""
        if not (self.requires_grad and self.is_leaf):
            raise GraphError(message("register_post_accumulate_grad_hook", "needs a leaf that requires grad"))
        import weakref

        me = weakref.ref(self)
        return HookHandle(self._sink().after, lambda grad: hook(me()))

    # -- values ----------------------------------------------------------------------------

    def _concrete(self, what: str, cure: str = _READ_LATER) -> Any:
        if self._value is None:
            raise TraceError(message(what, "the value is not known while tracing", str(self.aval), cure))
        if STATE.trace is not None:
            STATE.trace.saw_value(self)
        return self._value

    def numpy(self, *, force: bool = False) -> Any:
        """The NumPy array that shares this tensor's memory.

        Raises:
            GraphError: the tensor requires grad and ``force`` is False.
        """
        value = self._concrete("numpy")
        if self.requires_grad and not force:
            raise GraphError(message("numpy", "the tensor requires grad", str(self.aval), "Use x.detach().numpy()"))
        if not isinstance(value, np.ndarray):
            value = self._value = np.array(value)
        return value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The only element as a Python number."""
        value = self._concrete("item")
        if value.size != 1:
            raise GraphError(message("item", "needs a tensor with one element", str(self.aval), "Use .tolist()"))
        return value.item() if value.dtype not in dt.HALF_NP else float(value.reshape(()))

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._concrete("tolist").tolist()

    def __bool__(self) -> bool:
        value = self._concrete("bool")
        if value.size != 1:
            raise GraphError(
                message("bool", "the truth of a tensor with several elements is ambiguous", str(self.aval),
                        "Use .any() or .all()")
            )  # fmt: skip
        return bool(value.reshape(()))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.aval.dtype in dt.INEXACT_NP:
            raise DTypeError(message("index", "only integer tensors can be used as an index", str(self.aval)))
        return int(self.item())

    def __len__(self) -> int:
        shape = self.aval.shape
        if not shape:
            raise DTypeError(message("len", "a 0-d tensor has no length"))
        return shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.aval.shape:
            raise DTypeError(message("iter", "cannot iterate over a 0-d tensor"))
        return iter(self.unbind(0))  # type: ignore[attr-defined]

    def __contains__(self, x: Any) -> bool:
        return bool(pw.eq(self, x).any())

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from .functional.printing import tensor_repr

        return tensor_repr(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._value is not None and self._value.ndim == 0 else str(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if not self.is_leaf:
            raise GraphError(
                message("deepcopy", "only leaves can be copied deeply", str(self.aval), "Use x.detach().clone()")
            )
        cls = type(self)
        out = cls.__new__(cls)
        memo[id(self)] = out
        out._value = np.array(self._concrete("deepcopy"))
        if self.__dict__:
            import copy

            out.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if self.requires_grad:
            out.requires_grad_()
            if self.grad is not None:
                out.grad = wrap(np.array(self.grad._value))
        return out

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.is_leaf:
            raise GraphError(message("pickle", "only leaves can be pickled", str(self.aval), "Use x.detach()"))
        value = self._concrete("pickle")
        return (_rebuild, (type(self), np.array(value), self.requires_grad, self.__dict__ or None))

    def __setitem__(self, index: Any, value: Any) -> None:
        from .functional.indexing import setitem

        setitem(self, index, value)


def _rebuild(cls: Any, value: Any, requires_grad: bool, attributes: dict[str, Any] | None) -> Any:
    out = cls.__new__(cls)
    out._value = value
    if attributes:
        out.__dict__.update(attributes)
    return out.requires_grad_() if requires_grad else out


def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor."""
    return isinstance(obj, Handle)


def is_floating_point(input: Any) -> bool:
    """Whether a tensor has a floating dtype."""
    return input.aval.dtype in dt.FLOATING_NP


def is_complex(input: Any) -> bool:
    """Whether a tensor has a complex dtype."""
    return input.aval.dtype in dt.COMPLEX_NP


for _name, _function in METHODS.items():
    setattr(Tensor, _name, _function)
set_handle_class(Tensor)
