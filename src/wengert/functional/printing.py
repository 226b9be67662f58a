"""How a tensor prints: PyTorch's form."""

from __future__ import annotations

from typing import Any

import numpy as np


def tensor_repr(x: Any) -> str:
    """``tensor([1., 2.], requires_grad=True)``."""
    if x._value is None:
        return f"<symbolic tensor {x.aval}>"
    return f"tensor({np.array2string(np.asarray(x._value), separator=', ', prefix='tensor(')})"

