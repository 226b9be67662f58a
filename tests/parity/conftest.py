"""`agree`: one text, evaluated by wengert and by torch, must give the same values, dtypes and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert.graph.handle import wrap

GRADIENT_TOLERANCE = 1e-9

# A program that writes golden values: it needs torchvision, and changes torch so that this can be imported.
collect_ignore = ["golden_models.py"]


def flatten(out: Any) -> list[Any]:
    """The tensors of a result that may be nested."""
    if isinstance(out, (tuple, list)):
        return [t for part in out for t in flatten(part)]
    return [] if out is None else [out]


def dtype_name(t: Any) -> str:
    """The dtype's name without the library's."""
    return str(t.dtype).split(".")[-1]


def as_numpy(t: Any) -> Any:
    """A float64 (or integer, or complex) array of either library's tensor."""
    if isinstance(t, wg.Tensor):
        a = np.asarray(t._value)
    else:
        a = (t.detach().double() if dtype_name(t) == "bfloat16" else t.detach()).resolve_conj().numpy()
    return a.astype(np.float64) if dtype_name(t) in ("bfloat16", "float16", "float32") else a


def to_wengert(a: np.ndarray, dtype: str | None) -> Any:
    """A tensor of wengert; float64 arrays in another dtype if one is given."""
    return wrap(a.astype(getattr(wg, dtype).np) if dtype and a.dtype == np.float64 else np.array(a))


def to_torch(a: np.ndarray, dtype: str | None) -> Any:
    """A tensor of torch."""
    import torch

    t = torch.tensor(a)
    return t.to(getattr(torch, dtype)) if dtype and a.dtype == np.float64 else t


def weights(o: Any, k: int) -> Any:
    """Fixed adjoints, all different."""
    w = np.cos(np.arange(np.prod(o.shape, dtype=int)) * 0.7 + k).reshape(tuple(o.shape))
    return w * (1 - 0.5j) if dtype_name(o).startswith("complex") else w


def evaluate(
    make: Callable[..., Any], names: dict[str, Any], text: str, arrays: dict[str, Any], dtype: str | None
) -> tuple[list[Any], list[Any]]:
    """Results and, without a change of dtype, gradients of the floating inputs (not of ``const...``)."""
    tensors: dict[str, Any] = {}
    for name, a in arrays.items():
        tensors[name] = make(a, dtype) if isinstance(a, np.ndarray) else a
        if dtype is None and isinstance(a, np.ndarray) and a.dtype.kind in "fc" and not name.startswith("const"):
            tensors[name].requires_grad_()
    outs = flatten(eval(text, {**names, **tensors}))
    if dtype is None:
        for k, o in enumerate(outs):
            if o.requires_grad:
                o.backward(make(weights(o, k), None), retain_graph=True)
    return outs, [t.grad for t in tensors.values() if dtype is None and hasattr(t, "grad") and t.requires_grad]


TOLERANCES = {None: 1e-10, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def compare(text: str, dtypes: tuple[str, ...] = ("float32",), tol: float = 1.0, **arrays: Any) -> None:
    """Float64 values and gradients; then the values in other dtypes."""
    torch = pytest.importorskip("torch")
    ours, theirs = {"F": wg.nn.functional, "T": wg}, {"F": torch.nn.functional, "T": torch}
    for dtype in (None, *dtypes):
        got, got_grads = evaluate(to_wengert, ours, text, arrays, dtype)
        want, want_grads = evaluate(to_torch, theirs, text, arrays, dtype)
        assert len(got) == len(want), text
        for k, (g, w) in enumerate(zip(got, want)):
            assert tuple(g.shape) == tuple(w.shape), f"{text} {dtype} result {k}"
            assert dtype_name(g) == dtype_name(w), f"{text} {dtype} result {k}"
            limit = TOLERANCES[dtype] * tol
            np.testing.assert_allclose(as_numpy(g), as_numpy(w), limit, limit, err_msg=f"{text} {dtype} {k}")
        for k, (g, w) in enumerate(zip(got_grads, want_grads)):
            assert (g is None) == (w is None) or not np.any(as_numpy(g if w is None else w)), f"{text} gradient {k}"
            if g is not None and w is not None:
                limit = GRADIENT_TOLERANCE * tol
                np.testing.assert_allclose(as_numpy(g), as_numpy(w), limit, limit, err_msg=f"{text} gradient {k}")


@pytest.fixture
def agree() -> Callable[..., None]:
    return compare
