"""Special functions, under the names of ``torch.special``.

>>> import wengert as wg
>>> wg.special.ndtr(wg.tensor([0.0, 1.96]))
tensor([0.5000, 0.9750])
"""

from __future__ import annotations

from .functional.outs import SPECIAL, accept_out
from .functional.pointwise import exp2, expm1, log1p, round, sigmoid
from .functional.pointwise_formulas import logit, sinc
from .functional.reduction import logsumexp
from .functional.softmax import log_softmax, softmax
from .functional.special import (
    digamma,
    entr,
    erf,
    erfc,
    erfcx,
    erfinv,
    gammainc,
    gammaincc,
    gammaln,
    i0,
    i0e,
    i1,
    i1e,
    log_ndtr,
    multigammaln,
    ndtr,
    ndtri,
    polygamma,
    psi,
    xlog1py,
    xlogy,
    zeta,
)

expit = sigmoid
modified_bessel_i0, modified_bessel_i1 = i0, i1

__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc",
    "gammaln", "i0", "i0e", "i1", "i1e", "log1p", "log_ndtr", "log_softmax", "logit", "logsumexp",
    "modified_bessel_i0", "modified_bessel_i1", "multigammaln", "ndtr", "ndtri", "polygamma", "psi", "round",
    "sinc", "softmax", "xlog1py", "xlogy", "zeta",
]  # fmt: skip

accept_out(globals(), SPECIAL)
