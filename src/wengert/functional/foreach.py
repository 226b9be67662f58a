"""``wg._foreach_add_`` and its family: one function over lists of tensors, as optimisers write it.

Each is a plain loop; the second operand is a list of the same length, one tensor, or one number.

>>> import wengert as wg
>>> wg._foreach_mul([wg.ones(2), wg.ones(1)], 3.0)
[tensor([3., 3.]), tensor([3.])]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ArgumentError, message

UNARY = """
    abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2 neg reciprocal round
    rsqrt sigmoid sign sin sinh sqrt tan tanh trunc
""".split()
BINARY = "add clamp_max clamp_min div maximum minimum mul pow sub".split()
TERNARY = "addcdiv addcmul lerp".split()
_IN_PLACE_ONLY = {"copy": "copy_", "zero": "zero_"}
# Methods without an in-place form of their own.
_METHOD = {"maximum_": "clamp_min_", "minimum_": "clamp_max_"}


def _spread(name: str, operand: Any, n: int) -> Sequence[Any]:
    """One operand a tensor."""
    if not isinstance(operand, (list, tuple)):
        return [operand] * n
    if len(operand) != n:
        raise ArgumentError(message(name, "the lists have different lengths", f"{n} and {len(operand)}"))
    return operand


def _maker(name: str) -> Callable[..., Any]:
    """``name`` with a trailing underscore writes in place and returns None, as PyTorch's."""
    inplace = name.endswith("_")
    method = _METHOD.get(name, name)
    full = f"_foreach_{name}"

    def call(tensors: Any, *operands: Any, **options: Any) -> Any:
        rows = zip(tensors, *[_spread(full, o, len(tensors)) for o in operands])
        names = {k: _spread(full, v, len(tensors)) for k, v in options.items()}
        results = [
            getattr(row[0], method)(*row[1:], **{k: v[i] for k, v in names.items()}) for i, row in enumerate(rows)
        ]
        return None if inplace else results

    def with_value(tensors: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
        return call(tensors, tensor1, tensor2, value=value)

    made = with_value if name.startswith("addc") else call
    made.__name__ = made.__qualname__ = full
    made.__doc__ = f"``{method}`` of every tensor of a list{', in place' if inplace else ''}."
    return made


def _foreach_norm(tensors: Any, ord: Any = 2, dtype: Any = None) -> list[Any]:
    """The norm of every tensor of a list, all its elements taken as one vector."""
    from .linalg_norms import vector_norm

    return [vector_norm(t, ord, dtype=dtype) for t in tensors]


FUNCTIONS: dict[str, Callable[..., Any]] = {"_foreach_norm": _foreach_norm}
for _name in (*UNARY, *BINARY, *TERNARY):
    FUNCTIONS[f"_foreach_{_name}"] = _maker(_name)
    FUNCTIONS[f"_foreach_{_name}_"] = _maker(f"{_name}_")
for _name, _method in _IN_PLACE_ONLY.items():
    FUNCTIONS[f"_foreach_{_method}"] = _maker(_method)
