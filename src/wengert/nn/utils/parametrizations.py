"""Parametrizations that come with the library: weight and spectral normalisation, orthogonal weights.

Each makes `parametrize.register_parametrization` compute a weight, with PyTorch's names in the state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import api, linalg
from ...config import no_grad
from ...errors import ArgumentError, ShapeError, message
from .. import functional as F
from ..module import Module
from .parametrize import register_parametrization


def norm_except_dim(v: Any, dim: int | None) -> Any:
    """The 2-norm over all dimensions but one; over all of them if ``dim`` is None."""
    if dim is None:
        return linalg.vector_norm(v)
    others = tuple(k for k in range(v.ndim) if k != dim % v.ndim)
    return linalg.vector_norm(v, dim=others, keepdim=True) if others else v.abs()


class _WeightNorm(Module):
    """``g · v / ‖v‖``."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Any) -> Any:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Split a weight into its length (``original0``) and its direction (``original1``).

    Source: Salimans & Kingma 2016.

    Args:
        module: what to change.
        name: of the parameter.
        dim: the dimension that keeps a length for each position; None for one length.

    >>> import wengert as wg
    >>> layer = wg.nn.utils.parametrizations.weight_norm(wg.nn.Linear(2, 3, bias=False))
    >>> [(name, tuple(p.shape)) for name, p in layer.named_parameters()]
    [('parametrizations.weight.original0', (3, 1)), ('parametrizations.weight.original1', (3, 2))]
    """
    return register_parametrization(module, name, _WeightNorm(dim))


def power_iteration(weight: Any, u: Any, v: Any, steps: int, eps: float) -> None:
    """Bring u and v, in place, nearer to the first singular vectors of a matrix."""
    with no_grad():
        for _ in range(steps):
            u.copy_(F.normalize(weight @ v, dim=0, eps=eps))
            v.copy_(F.normalize(weight.T @ u, dim=0, eps=eps))


def as_matrix(weight: Any, dim: int) -> Any:
    """The weight with one dimension as rows and all others as columns."""
    return weight.movedim(dim, 0).flatten(1) if weight.ndim > 1 else weight.reshape(1, -1)


class _SpectralNorm(Module):
    """``W / σ``, with σ = uᵀ W v near the largest singular value."""

    _u: Any
    _v: Any

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        self.dim, self.n_power_iterations, self.eps, self.flat = dim, n_power_iterations, eps, weight.ndim == 1
        if not self.flat:
            with no_grad():
                matrix = as_matrix(weight, dim).detach()
                for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
                    start = api.randn(size, dtype=matrix.dtype)
                    self.register_buffer(name, F.normalize(start, dim=0, eps=eps))
                power_iteration(matrix, self._u, self._v, 15, eps)

    def forward(self, weight: Any) -> Any:
        if self.flat:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            power_iteration(matrix.detach(), self._u, self._v, self.n_power_iterations, self.eps)
        # Copies, because the next call changes them and this one's gradient still needs them.
        return weight / (self._u.clone() @ (matrix @ self._v.clone()))

    def right_inverse(self, value: Any) -> Any:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, kept up to date by power iteration while training.

    Source: Miyato et al. 2018.

    Args:
        module: what to change.
        name: of the parameter.
        n_power_iterations: steps each time the weight is read in training mode.
        eps: the least norm.
        dim: the dimension of the outputs; by default 1 for transposed convolutions, 0 for others.
    """
    weight = getattr(module, name)
    rows = output_dim(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, rows, eps))


def output_dim(module: Module) -> int:
    """Which dimension of a layer's weight counts its outputs."""
    return 1 if any(base.__name__ == "_ConvTranspose" for base in type(module).__mro__) else 0


_MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """Orthogonal columns (rows, if there are more columns) from any matrix."""

    base: Any

    def __init__(self, weight: Any, orthogonal_map: str, use_trivialization: bool = True) -> None:
        super().__init__()
        self.shape, self.orthogonal_map, self.trivial = tuple(weight.shape), orthogonal_map, use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        x = x.mT if wide else x
        q = self._reflections(x) if self.orthogonal_map == "householder" else self._rotation(x)
        q = self.base @ q if self.trivial else q
        return q.mT if wide else q

    def _rotation(self, x: Any) -> Any:
        """The exponential, or Cayley's map, of the skew-symmetric matrix with this lower triangle."""
        n, k = x.shape[-2:]
        x = F.pad(x.tril(), (0, n - k))
        skew = x - x.mT
        if self.orthogonal_map == "matrix_exp":
            return api.matrix_exp(skew)[..., :k]
        one = api.eye(n, dtype=x.dtype)
        return linalg.solve(one - skew / 2, one + skew / 2)[..., :k]

    def _reflections(self, x: Any) -> Any:
        """Householder's reflections with the columns below the diagonal, whose own entries are signs."""
        low = x.tril(-1)
        q = linalg.householder_product(low, 2.0 / (1.0 + (low * low).sum(-2)))
        return q * x.diagonal(dim1=-2, dim2=-1).detach().trunc().unsqueeze(-2)

    def right_inverse(self, weight: Any) -> Any:
        if tuple(weight.shape) != self.shape:
            seen = f"{tuple(weight.shape)} for {self.shape}"
            raise ShapeError(message("orthogonal", "a parametrized weight keeps its shape", seen))
        wide = weight.shape[-2] < weight.shape[-1]
        tall = weight.mT if wide else weight
        if not self.trivial:
            return _reflections_of(self.orthogonal_map, tall, wide)
        n, k = tall.shape[-2:]
        if n > k:  # complete it to a square matrix
            tall = api.cat([tall, api.randn(*tall.shape[:-2], n, n - k, dtype=tall.dtype)], -1)
        self.base = tall.clone() if _is_orthogonal(tall) else _nearest_orthogonal(tall)
        # With -1 on the diagonal Householder's map starts at the identity; the others see zeros below it.
        start = api.zeros_like(weight)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start


def _is_orthogonal(q: Any) -> bool:
    gram, one = q.mT @ q, api.eye(q.shape[-1], dtype=q.dtype)
    return api.allclose(gram, one.expand_as(gram), atol=10 * q.shape[-2] * api.finfo(q.dtype).eps)


def _nearest_orthogonal(x: Any) -> Any:
    """Q of the QR decomposition with a positive diagonal of R."""
    q, r = linalg.qr(x)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def _reflections_of(kind: str, tall: Any, wide: bool) -> Any:
    """The original of which Householder's map gives Q of a matrix, where R has a positive diagonal."""
    if kind != "householder":
        wanted = f"a weight can not be assigned to {kind} when use_trivialization=False"
        raise ArgumentError(message("orthogonal", wanted, cure="Use 'householder', or use_trivialization=True"))
    below, tau = np.linalg.qr(tall.detach().numpy(), mode="raw")  # LAPACK's reflections, transposed
    signs = np.sign(np.diagonal(below, axis1=-2, axis2=-1)) * np.where(tau == 0, -1, 1)
    original = api.as_tensor(np.ascontiguousarray(np.swapaxes(below, -2, -1))).to(tall.dtype)
    original.diagonal(dim1=-2, dim2=-1).copy_(api.as_tensor(signs))
    return original.mT if wide else original


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a weight orthogonal: its columns, or its rows if they are fewer, have length 1 and right angles.

    The weight that the module has is kept if it is orthogonal, else the nearest by QR is taken.

    Sources: Lezcano-Casado and Martínez-Rubio, ICML 2019; Lezcano-Casado, "Trivializations for gradient-based
    optimization on manifolds", NeurIPS 2019.

    Args:
        module: what to change.
        name: of the parameter, a real matrix (or a batch of matrices).
        orthogonal_map: "matrix_exp", "cayley" or "householder"; by default the first for square matrices, the last
            for others.
        use_trivialization: whether the map is multiplied by a fixed orthogonal matrix, ``base``, from which it starts.

    >>> import wengert as wg
    >>> layer = wg.nn.utils.parametrizations.orthogonal(wg.nn.Linear(3, 5))
    >>> wg.allclose(layer.weight.T @ layer.weight, wg.eye(3), atol=1e-5)
    True
    """
    weight = getattr(module, name)
    if weight.ndim < 2 or weight.is_complex():
        raise ShapeError(
            message("orthogonal", "needs a real matrix or a batch of them", f"shape {tuple(weight.shape)}")
        )
    square = weight.shape[-2] == weight.shape[-1]
    chosen = orthogonal_map or ("matrix_exp" if square else "householder")
    if chosen not in _MAPS:
        raise ArgumentError(message("orthogonal", f"orthogonal_map must be one of {', '.join(_MAPS)}", repr(chosen)))
    return register_parametrization(module, name, _Orthogonal(weight, chosen, use_trivialization), unsafe=True)
