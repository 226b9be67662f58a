"""``Parameter``: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import api
from ..errors import DTypeError, message
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

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Parameter containing:\n" + super().__repr__(tensor_contents=tensor_contents)
