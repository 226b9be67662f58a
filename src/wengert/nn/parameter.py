"""Tensors that modules register: parameters, buffers, and those whose shape is not known yet."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from .. import api
from ..dtypes import to_dtype
from ..errors import DTypeError, GraphError, message
from ..tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a `Module` registers when it is assigned as an attribute.

    It gets a copy of the data, so that nothing else can change it unseen.

    Args:
        data: the starting values; an empty tensor if left out.
        requires_grad: whether it gets a gradient.

    >>> import wengert as wg
    >>> wg.nn.Parameter(wg.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        if data is None:
            data = api.empty(0)
        if not isinstance(data, Tensor):
            raise DTypeError(
                message("Parameter", "takes a tensor", type(data).__name__, "Wrap the data: wengert.tensor(data)")
            )
        self._value = np.array(data._concrete("Parameter"))
        if requires_grad:
            self.requires_grad_()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A parameter with the same values and no gradient, as in PyTorch."""
        out = super().__deepcopy__(memo)
        out.grad = None
        return out

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Parameter containing:\n" + super().__repr__(tensor_contents=tensor_contents)


class Buffer(Tensor):
    """A tensor that a `Module` registers as a buffer when it is assigned as an attribute.

    Args:
        data: the values; an empty tensor if left out.
        persistent: whether `Module.state_dict` holds it.
    """

    __slots__ = ()
    persistent: bool

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        if data is None:
            data = api.empty(0)
        if not isinstance(data, Tensor):
            raise DTypeError(
                message("Buffer", "takes a tensor", type(data).__name__, "Wrap the data: wengert.tensor(data)")
            )
        self._value = data._concrete("Buffer")
        self.persistent = persistent


class _Uninitialized:
    """What tensors without a shape share. ``materialize`` gives them one."""

    __slots__ = ()
    _value: Any
    requires_grad: bool

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary tensor of this shape, with zeros, ready to be filled."""
        needs = self.requires_grad
        kind = self._value.dtype if dtype is None else to_dtype(dtype).np
        self.__class__ = type(self).__mro__[2]  # type: ignore[assignment]
        self.data = api.as_tensor(np.zeros(tuple(shape), kind))
        if needs and not self.requires_grad:
            self.requires_grad = True

    def _unknown(self, *args: Any) -> NoReturn:
        cure = "Call the module once on a batch, which tells it the sizes"
        raise GraphError(message(type(self).__name__, "has no shape and no values yet", "", cure))

    shape = property(_unknown)
    ndim = property(_unknown)
    numel = size = dim = tolist = numpy = item = _unknown

    def __repr__(self, **kwargs: Any) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter of a lazy module, whose shape the first batch decides."""

    __slots__ = ()

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        Parameter.__init__(self, api.empty(0, dtype=dtype), requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):
    """A buffer of a lazy module, whose shape the first batch decides."""

    __slots__ = ()

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> None:
        Buffer.__init__(self, api.empty(0, dtype=dtype))


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(param, _Uninitialized)
