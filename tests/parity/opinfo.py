"""torch's own table of ops and sample inputs (OpInfo), handed to wengert.

``compare_op(info, dtype)`` runs every sample in both libraries and returns what differs: shapes, dtypes,
values and, for float64 and complex128, gradients.
"""

from __future__ import annotations

import itertools
import sys
import types
import unittest
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np

import wengert as wg
import wengert.nn.functional
import wengert.signal.windows
from wengert.graph.handle import wrap

Outcome = tuple[str, Any]  # "ok" and a result, or "error" and the exception


@cache
def table() -> dict[str, Any]:
    """OpInfo by name, variants after a dot."""
    if "expecttest" not in sys.modules:  # needed by torch's tests of printed output only
        stub: Any = types.ModuleType("expecttest")
        stub.TestCase = unittest.TestCase
        sys.modules["expecttest"] = stub
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return {".".join(filter(None, (info.name, info.variant_test_name))): info for info in op_db}


def unseeded(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """In the place of torch's wrapper that seeds its generator before every call."""
    return f(*args, **kwargs)


def in_library(library: Any, f: Any) -> Callable[..., Any]:
    """One of torch's lambdas, with ``library`` in torch's place."""
    return types.FunctionType(
        f.__code__, {"torch": library, "wrapper_set_seed": unseeded}, "op", f.__defaults__, f.__closure__
    )


def is_lambda(info: Any) -> bool:
    return getattr(info.op, "__name__", "") == "<lambda>"


def is_random(info: Any, args: Any, kwargs: Any) -> bool:
    """Whether two calls of torch's function give different numbers."""
    import torch

    if info.name.startswith(("empty", "new_empty", "nn.functional.fractional_max_pool")):
        return True
    if not is_lambda(info) or "wrapper_set_seed" not in info.op.__code__.co_names:
        return False
    call = in_library(torch, info.op)
    outcomes = [attempt(call, *[copied(a) for a in args], **kwargs) for _ in range(8)]
    if any(kind == "error" for kind, _ in outcomes):
        return False
    first, *others = ([value_of(t) for t in leaves(out) if hasattr(t, "detach")] for _, out in outcomes)
    return any(not np.array_equal(a, b, equal_nan=True) for other in others for a, b in zip(first, other))


def copied(x: Any) -> Any:
    """Random functions write into their argument."""
    return x.detach().clone() if hasattr(x, "detach") else x


def samples(info: Any, dtype: Any, limit: int) -> list[Any]:
    """The first sample inputs; they require grad where torch differentiates."""
    import torch

    torch.manual_seed(0)
    exact = dtype in (torch.float64, torch.complex128)
    grad = exact and info.supports_autograd and dtype in info.backward_dtypes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(itertools.islice(info.sample_inputs("cpu", dtype, requires_grad=grad), limit))


def ours(info: Any) -> Callable[..., Any]:
    """wengert's function behind an OpInfo; torch's small lambdas run with wengert in torch's place."""
    if is_lambda(info):
        return in_library(wg, info.op)
    found: Any = wg
    try:
        for part in info.name.split("."):
            found = getattr(found, part)
    except AttributeError:
        found = getattr(wg.Tensor, info.name)
    return found


# -- from torch to wengert -------------------------------------------------------------------------


def as_array(t: Any) -> np.ndarray:
    """A copy of a torch tensor, laid out in memory as the tensor is."""
    import torch

    t = t.detach().resolve_conj().resolve_neg()
    if t.numel() == 0:
        flat = t.contiguous()
    else:
        size = 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride()))
        flat = torch.as_strided(t, (size,), (1,), t.storage_offset()).clone()
    if t.dtype == torch.bfloat16:
        a = flat.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        a = flat.numpy()
    if t.numel() == 0:
        return a
    return np.lib.stride_tricks.as_strided(a, t.shape, [s * a.itemsize for s in t.stride()])


def convert(x: Any) -> Any:
    """The same argument for wengert; tensors that require grad become leaves that do."""
    import torch

    if isinstance(x, torch.Tensor):
        out = wrap(as_array(x))
        return out.requires_grad_() if x.requires_grad else out
    if isinstance(x, torch.dtype):
        return getattr(wg, str(x).split(".")[-1])
    if isinstance(x, (torch.device, torch.layout, torch.memory_format)):
        return "cpu" if isinstance(x, torch.device) else None
    if isinstance(x, slice):
        return slice(*[convert(part) for part in (x.start, x.stop, x.step)])
    if isinstance(x, dict):
        return {k: convert(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(convert(v) for v in x) if type(x) in (list, tuple) else tuple(convert(v) for v in x)
    if isinstance(x, torch.nn.PairwiseDistance):
        return partial(wg.nn.functional.pairwise_distance, p=x.norm, eps=x.eps, keepdim=x.keepdim)
    return x


def dtype_name(t: Any) -> str:
    """``float32`` for either library's."""
    return str(t.dtype).split(".")[-1]


def value_of(t: Any) -> np.ndarray:
    """The values of either library's tensor, halves in float32."""
    a = t._value if isinstance(t, wg.Tensor) else as_array(t)
    a = np.asarray(a)
    return a.astype(np.float32) if dtype_name(t) in ("bfloat16", "float16") else a


def leaves(x: Any) -> Iterator[Any]:
    """Tensors and numbers of a nested result."""
    if isinstance(x, (list, tuple)) and type(x).__name__ != "Size":
        for part in x:
            yield from leaves(part)
    elif x is not None:
        yield x


# -- comparison ------------------------------------------------------------------------------------

TOLERANCES = {
    "float64": 1e-7, "complex128": 1e-7, "float32": 2e-4, "complex64": 2e-4, "float16": 1e-2, "bfloat16": 6e-2,
}  # fmt: skip


def attempt(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Outcome:
    """Run, and say how it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "ok", f(*args, **kwargs)
        except Exception as error:
            return "error", error


def close(a: np.ndarray, b: np.ndarray, dtype: str, limit: float) -> bool:
    """Whether arrays agree; in single precision small elements lose digits beside large ones."""
    if np.allclose(a, b, limit, limit, equal_nan=True):
        return True
    if dtype not in ("float32", "complex64"):
        return False
    largest = float(np.max(np.abs(b), where=np.isfinite(b), initial=0))
    return np.allclose(a, b, limit, max(limit, 1e-7 * largest), equal_nan=True)


def other_difference(got: Any, want: Any, loose: bool) -> str | None:
    """What differs where torch's result is no tensor."""
    import torch

    if isinstance(want, torch.Size):
        same = tuple(got) == tuple(want)
    elif isinstance(want, torch.dtype):
        same = str(got).split(".")[-1] == str(want).split(".")[-1]
    else:
        same = type(got) is type(want) and (loose or np.allclose(got, want, 1e-6, 1e-6, equal_nan=True))
    return None if same else f"{got!r} for {want!r}"


def difference(got: Any, want: Any, tolerance: float | None, loose: bool) -> str | None:
    """What differs between two results; ``loose``: shapes and dtypes only."""
    if not hasattr(want, "requires_grad"):
        return other_difference(got, want, loose)
    if not isinstance(got, wg.Tensor):
        return f"{type(got).__name__} for a tensor"
    if tuple(got.shape) != tuple(want.shape):
        return f"shape {tuple(got.shape)} for {tuple(want.shape)}"
    if dtype_name(got) != dtype_name(want):
        return f"dtype {dtype_name(got)} for {dtype_name(want)}"
    a, b = value_of(got), value_of(want)
    limit = TOLERANCES.get(dtype_name(want), 0) if tolerance is None else tolerance
    if loose or close(a, b, dtype_name(want), limit):
        return None
    worst = np.argmax(~np.isclose(a, b, limit, limit, equal_nan=True))
    return f"value {a.reshape(-1)[worst]} for {b.reshape(-1)[worst]} at {worst} of {a.shape}"


def adjoint(t: Any, k: int) -> np.ndarray:
    """Fixed adjoints, all different."""
    w = np.cos(np.arange(int(np.prod(t.shape))) * 0.7 + k).reshape(tuple(t.shape))
    return (w * (1 - 0.5j) if dtype_name(t).startswith("complex") else w).astype(dtype_name(t))


def inputs_of(x: Any) -> list[Any]:
    """Tensors among arguments."""
    if isinstance(x, dict):
        return [t for part in x.values() for t in inputs_of(part)]
    if isinstance(x, (list, tuple)):
        return [t for part in x for t in inputs_of(part)]
    return [x] if hasattr(x, "requires_grad") else []


def gradients(outs: Any, args: Any, make: Callable[[np.ndarray], Any], grad: Callable[..., Any]) -> list[Any]:
    """Of the inexact results (weighted) by the tensors that require grad."""
    weighted = [(o, make(adjoint(o, k))) for k, o in enumerate(leaves(outs)) if getattr(o, "requires_grad", False)]
    xs = [t for t in inputs_of(args) if t.requires_grad]
    if not weighted or not xs:
        return [None] * len(xs)
    return list(grad([o for o, _ in weighted], xs, [w for _, w in weighted], allow_unused=True))


def compare_gradients(theirs: tuple[Any, Any], mine: tuple[Any, Any]) -> str | None:
    """Compare the gradients of two (result, arguments)."""
    import torch

    want = attempt(gradients, *theirs, torch.from_numpy, torch.autograd.grad)
    if want[0] == "error":
        return None
    got = attempt(gradients, *mine, wrap, wg.autograd.grad)
    if got[0] == "error":
        return f"gradient raises {type(got[1]).__name__}: {str(got[1])[:200]}"
    for i, (g, w) in enumerate(itertools.zip_longest(got[1], want[1])):
        if g is None or w is None:
            other = w if g is None else g
            if other is not None and np.any(value_of(other)):
                return (
                    f"gradient {i}: {'none' if g is None else 'there'}, torch's is {'none' if w is None else 'there'}"
                )
            continue
        found = difference(g, w, 1e-6, False)
        if found:
            return f"gradient {i}: {found}"
    return None


def in_float32(x: Any) -> Any:
    """The argument with halves widened."""
    import torch

    if isinstance(x, torch.Tensor):
        return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    if isinstance(x, dict):
        return {k: in_float32(v) for k, v in x.items()}
    return type(x)(in_float32(v) for v in x) if type(x) in (list, tuple) else x


def differing(got: Any, want: Any, loose: bool) -> str | None:
    """What differs between two nested results."""
    a, b = list(leaves(got)), list(leaves(want))
    if len(a) != len(b):
        return f"{len(a)} results for {len(b)}"
    for k, (g, w) in enumerate(zip(a, b)):
        found = difference(g, w, None, loose)
        if found:
            return f"result {k}: {found}"
    return None


def rounded_once(theirs: Callable[..., Any], args: Any, kwargs: Any, got: Any, want: Any) -> bool:
    """Whether wengert's halves are torch's results in float32, rounded: torch rounds in between too."""
    wide = attempt(theirs, *in_float32(args), **in_float32(kwargs))
    if wide[0] == "error":
        return False
    pairs = list(zip(leaves(got), leaves(want), leaves(wide[1])))
    return all(difference(g, x.to(w.dtype) if hasattr(x, "to") else x, None, False) is None for g, w, x in pairs)


def compare_call(
    theirs: Callable[..., Any], mine: Callable[..., Any], args: Any, kwargs: Any, loose: bool = False
) -> str | None:
    """One call in both libraries; what differs, or None. ``loose``: shapes and dtypes only."""
    own_args, own_kwargs = convert(args), convert(kwargs)
    want, got = attempt(theirs, *args, **kwargs), attempt(mine, *own_args, **own_kwargs)
    if want[0] == "error":
        return None if got[0] == "error" else f"works, torch raises {str(want[1]).splitlines()[0][:150]}"
    if got[0] == "error":
        return f"raises {type(got[1]).__name__}: {str(got[1])[:250]}"
    found = differing(got[1], want[1], loose)
    if found:
        halves = any(dtype_name(t) in ("bfloat16", "float16") for t in inputs_of((args, kwargs)))
        return None if halves and rounded_once(theirs, args, kwargs, got[1], want[1]) else found
    if loose or not any(t.requires_grad for t in inputs_of((args, kwargs))):
        return None
    return compare_gradients((want[1], (args, kwargs)), (got[1], (own_args, own_kwargs)))
