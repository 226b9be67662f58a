"""Weight and spectral normalisation under the names of PyTorch's older functions, by a hook before the call.

Their states have the keys ``weight_g`` and ``weight_v``, and ``weight_orig``, ``weight_u`` and ``weight_v``.
"""

from __future__ import annotations

from typing import Any

from ... import api
from ...config import no_grad
from ...errors import ArgumentError, message
from .. import functional as F
from ..parameter import Parameter
from .parametrizations import as_matrix, norm_except_dim, output_dim, power_iteration


class _WeightNorm:
    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def weight(self, module: Any) -> Any:
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / norm_except_dim(v, self.dim))

    def __call__(self, module: Any, args: Any) -> None:
        setattr(module, self.name, self.weight(module))

    def originals(self) -> tuple[str, ...]:
        return (self.name + "_g", self.name + "_v")


class _SpectralNorm:
    def __init__(self, name: str, dim: int, steps: int, eps: float) -> None:
        self.name, self.dim, self.steps, self.eps = name, dim, steps, eps

    def weight(self, module: Any, steps: int = 0) -> Any:
        weight, u, v = (getattr(module, self.name + end) for end in ("_orig", "_u", "_v"))
        matrix = as_matrix(weight, self.dim)
        # The older function takes the steps in the other order: v first.
        power_iteration(matrix.detach().T, v, u, steps, self.eps)
        return weight / (u.clone() @ (matrix @ v.clone()))

    def __call__(self, module: Any, args: Any) -> None:
        setattr(module, self.name, self.weight(module, self.steps if module.training else 0))

    def originals(self) -> tuple[str, ...]:
        return (self.name + "_orig", self.name + "_u", self.name + "_v")


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Split a weight into length ``weight_g`` and direction ``weight_v``. Source: Salimans & Kingma 2016.

    New programs use `parametrizations.weight_norm`.
    """
    weight = module._parameters[name]
    hook = _WeightNorm(name, dim)
    del module._parameters[name]
    with no_grad():
        module.register_parameter(name + "_g", Parameter(norm_except_dim(weight, dim)))
        module.register_parameter(name + "_v", Parameter(weight.detach()))
    return _attach(module, hook)


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Any:
    """Divide a weight by its largest singular value. Source: Miyato et al. 2018.

    New programs use `parametrizations.spectral_norm`.
    """
    weight = module._parameters[name]
    hook = _SpectralNorm(name, output_dim(module) if dim is None else dim, n_power_iterations, eps)
    del module._parameters[name]
    module.register_parameter(name + "_orig", weight)
    with no_grad():
        for end, size in zip(("_u", "_v"), as_matrix(weight, hook.dim).shape, strict=True):
            module.register_buffer(name + end, F.normalize(api.randn(size, dtype=weight.dtype), dim=0, eps=eps))
    return _attach(module, hook)


def _attach(module: Any, hook: Any) -> Any:
    setattr(module, hook.name, hook.weight(module).detach())
    module.register_forward_pre_hook(hook)
    return module


def _remove(kind: Any, module: Any, name: str) -> Any:
    for key, (hook, _) in list(module._forward_pre_hooks.items()):
        if isinstance(hook, kind) and hook.name == name:
            with no_grad():
                value = hook.weight(module).detach()
            for original in (name, *hook.originals()):
                delattr(module, original)
            module.register_parameter(name, Parameter(value))
            del module._forward_pre_hooks[key]
            return module
    raise ArgumentError(message("remove", f"{name!r} is not normalised in", type(module).__name__))


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Make the weight an ordinary parameter again."""
    return _remove(_WeightNorm, module, name)


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Make the weight an ordinary parameter again."""
    return _remove(_SpectralNorm, module, name)
