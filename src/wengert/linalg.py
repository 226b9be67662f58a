"""Linear algebra, under the names of ``torch.linalg``."""

from __future__ import annotations

from .errors import SingularError as LinAlgError
from .functional.blas import matmul
from .functional.linalg import (
    cholesky_ex,
    det,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    householder_product,
    matrix_exp,
    matrix_power,
    svdvals,
)
from .functional.linalg import linalg_cholesky as cholesky
from .functional.linalg import linalg_qr as qr
from .functional.linalg import linalg_slogdet as slogdet
from .functional.linalg import linalg_svd as svd
from .functional.linalg_norms import cond, matrix_norm, norm, vector_norm
from .functional.linalg_products import diagonal, multi_dot, tensorinv, tensorsolve, vander, vecdot
from .functional.linalg_products import linalg_cross as cross
from .functional.linalg_systems import (
    inv,
    inv_ex,
    lstsq,
    lu_factor,
    lu_factor_ex,
    matrix_rank,
    pinv,
    solve,
    solve_ex,
    solve_triangular,
)
from .functional.linalg_systems import linalg_lu as lu
from .functional.linalg_systems import linalg_lu_solve as lu_solve
from .functional.outs import LINALG, accept_out

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals",
    "eigvalsh", "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex",
    "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm",
    "pinv", "qr", "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv",
    "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip

accept_out(globals(), LINALG)
