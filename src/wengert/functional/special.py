"""Special functions: the error function's, the gamma function's and Bessel's families.

Integers are converted to the default dtype, as PyTorch does. `wengert.special` has all of these and
more under ``torch.special``'s names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError, message
from ..graph.handle import apply
from ..ops.base import OPS
from .formula import formula
from .front import apply_elementwise, binary, promote, unary
from .inplace import inplace

erf = unary("erf", floating=True)
erfc = unary("erfc", floating=True)
erfcx = unary("erfcx", floating=True)
erfinv = unary("erfinv", floating=True)
ndtr = unary("ndtr", floating=True)
ndtri = unary("ndtri", floating=True)
log_ndtr = unary("log_ndtr", floating=True)
entr = unary("entr", floating=True)
lgamma = gammaln = unary("lgamma", floating=True)
zeta = binary("zeta", floating=True)
igamma = gammainc = binary("gammainc", floating=True)
igammac = gammaincc = binary("gammaincc", floating=True)


def digamma(input: Any) -> Any:
    """The derivative of `lgamma`; -inf at 0, NaN at the negative integers.

    >>> import wengert as wg
    >>> wg.digamma(wg.tensor(1.0))
    tensor(-0.5772)
    """
    return apply(OPS["polygamma"], tuple(promote("digamma", (input,), floating=True)), {"n": 0})


psi = digamma


def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of `digamma`. As a method: ``x.polygamma(n)``.

    >>> import wengert as wg
    >>> wg.polygamma(1, wg.tensor(1.0))
    tensor(1.6449)

    Raises:
        ArgumentError: ``n`` is negative.
    """
    n = int(n)
    if n < 0:
        raise ArgumentError(message("polygamma", "n must not be negative", f"n={n}"))
    return apply(OPS["polygamma"], tuple(promote("polygamma", (input,), floating=True)), {"n": n})


def _polygamma_method(input: Any, n: int) -> Any:
    """The n-th derivative of `digamma` at the elements of the tensor."""
    return polygamma(n, input)


def mvlgamma(input: Any, p: int) -> Any:
    """Logarithm of the multivariate gamma function of dimension ``p``.

    p (p - 1) / 4 log(pi) plus the sum of lgamma(input - j / 2) over j < p.

    >>> import wengert as wg
    >>> wg.mvlgamma(wg.tensor(2.0), 2)
    tensor(0.4516)

    Raises:
        ArgumentError: ``p`` is less than 1.
    """
    if p < 1:
        raise ArgumentError(message("mvlgamma", "p must be at least 1", f"p={p}"))
    (input,) = promote("mvlgamma", (input,), floating=True)
    return _mvlgamma(input, int(p))


@formula
def _mvlgamma(input: Any, p: int) -> Any:
    out = lgamma(input)
    for j in range(1, p):
        out = out + lgamma(input - 0.5 * j)
    return out + 0.25 * p * (p - 1) * math.log(math.pi)


multigammaln = mvlgamma


def xlogy(input: Any, other: Any) -> Any:
    """``input * log(other)``, and 0 where ``input`` is 0 (unless ``other`` is NaN).

    >>> import wengert as wg
    >>> wg.xlogy(wg.tensor([0.0, 1.0]), wg.tensor([0.0, 1.0]))
    tensor([0., 0.])
    """
    return _xlogy(*promote("xlogy", (input, other), floating=True))


@formula
def _xlogy(input: Any, other: Any) -> Any:
    flat = OPS["logical_or"](other <= 0, other == math.inf)
    return _product(input, other, flat, 1, OPS["log"])


def xlog1py(input: Any, other: Any) -> Any:
    """``input * log1p(other)``, and 0 where ``input`` is 0 (unless ``other`` is NaN)."""
    return _xlog1py(*promote("xlog1py", (input, other), floating=True))


@formula
def _xlog1py(input: Any, other: Any) -> Any:
    flat = OPS["logical_or"](other <= -1, other == math.inf)
    return _product(input, other, flat, 0, OPS["log1p"])


def _product(x: Any, y: Any, flat: Any, harmless: int, log: Any) -> Any:
    """``x * log(y)``, with a harmless y where x is 0 and log(y) would not be finite."""
    where = apply_elementwise(OPS["logical_and"], (x == 0, flat))
    y = apply_elementwise(OPS["where"], (where, OPS["fill"](y, value=harmless), y))
    return x * log(y)


def _bessel_i(order: int, scaled: bool, name: str, doc: str) -> Callable[[Any], Any]:
    op, attrs = OPS["bessel_i"], {"order": order, "scaled": scaled}

    def call(input: Any) -> Any:
        return apply(op, tuple(promote(name, (input,), floating=True)), attrs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return call


i0 = _bessel_i(0, False, "i0", "Modified Bessel function of the first kind of order 0.")
i0e = _bessel_i(0, True, "i0e", "exp(-|input|) times `i0`.")
i1 = _bessel_i(1, False, "i1", "Modified Bessel function of the first kind of order 1.")
i1e = _bessel_i(1, True, "i1e", "exp(-|input|) times `i1`.")

__all__ = [
    "digamma", "erf", "erfc", "erfinv", "i0", "igamma", "igammac", "lgamma", "mvlgamma", "polygamma", "xlogy",
]  # fmt: skip

NOT_METHODS = ("polygamma",)
EXTRA_METHODS = {"polygamma": _polygamma_method, "polygamma_": inplace(_polygamma_method, "polygamma_")}
INPLACE = ("digamma", "erf", "erfc", "erfinv", "i0", "igamma", "igammac", "lgamma", "mvlgamma", "xlogy")
