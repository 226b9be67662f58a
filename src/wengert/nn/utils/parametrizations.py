"""Parametrizations that come with the library: weight and spectral normalisation.

Each makes `parametrize.register_parametrization` compute a weight, with PyTorch's names in the state.
"""

from __future__ import annotations

from typing import Any

from ... import api, linalg
from ...config import no_grad
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
