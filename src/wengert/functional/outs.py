"""Which public functions write their result into ``out=`` (elementwise ones see to it themselves); where they stand."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from types import FunctionType
from typing import Any

from .inplace import with_out

TOP_LEVEL = """
    addbmm addmm addmv addr all amax amin aminmax angle any arange argmax argmin argsort baddbmm bincount
    block_diag bmm bucketize cat chain_matmul cholesky cholesky_inverse cholesky_solve clone column_stack complex
    concat concatenate conj_physical copysign count_nonzero cross cummax cummin cumprod cumsum deg2rad diag
    diag_embed diagonal_scatter diff digamma dist dot dstack empty eye float_power fmax fmin frac full gather ger
    heaviside histc histogram hstack i0 index_add index_copy index_fill index_put index_reduce index_select inner
    inverse isin isneginf isposinf kron kthvalue lcm ldexp linspace log_softmax logaddexp2 logcumsumexp logit
    logspace logsumexp lu_solve lu_unpack masked_fill masked_scatter masked_select matmul matrix_power max mean
    median min mm mode msort multinomial mv mvlgamma nan_to_num nanmean nanmedian nanquantile nansum narrow_copy
    nonzero normal ones ormqr outer polar polygamma prod put qr quantile rad2deg rand randint randn randperm
    reciprocal renorm repeat_interleave roll round row_stack rsqrt rsub scatter scatter_add scatter_reduce
    searchsorted select_scatter sign sinc slice_scatter softmax sort square stack std sum svd take take_along_dim
    topk triangular_solve tril triu var vdot vstack xlogy zeros
""".split()

LINALG = """
    cholesky cholesky_ex cond cross det eig eigh eigvals eigvalsh householder_product inv inv_ex lstsq lu
    lu_factor lu_factor_ex lu_solve matmul matrix_norm matrix_power matrix_rank multi_dot norm pinv qr slogdet
    solve solve_ex solve_triangular svd svdvals tensorinv tensorsolve vecdot vector_norm
""".split()

FFT = """
    fft fft2 fftfreq fftn hfft hfft2 hfftn ifft ifft2 ifftn ihfft ihfft2 ihfftn irfft irfft2 irfftn rfft rfft2
    rfftfreq rfftn
""".split()

SPECIAL = """
    digamma i0 i0e i1 i1e logit logsumexp modified_bessel_i0 modified_bessel_i1 multigammaln polygamma psi round
    sinc xlog1py xlogy
""".split()

NN = "avg_pool2d avg_pool3d gelu hardshrink logsigmoid softplus softshrink".split()


_once = functools.cache(with_out)  # a function that two modules offer stays one function


def accept_out(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Give the public functions of a module the keyword ``out``.

    >>> import wengert as wg
    >>> y = wg.zeros(2)
    >>> wg.sum(wg.ones(3, 2), 0, out=y) is y, y
    (True, tensor([3., 3.]))
    """
    for name in names:
        function = namespace[name]
        if not hasattr(function, "takes_out"):
            namespace[name] = _once(function)
    _say_where(namespace)


def _say_where(namespace: dict[str, Any]) -> None:
    """Let functions that were made elsewhere tell this module as theirs: pickle, and who reads, look there."""
    for name, function in namespace.items():
        if type(function) is FunctionType and name[0] != "_":
            told = sys.modules.get(function.__module__)
            if getattr(told, function.__qualname__, None) is not function:
                function.__module__, function.__qualname__ = namespace["__name__"], name
