"""Functions of loop IR as machine code of this process, called with NumPy arrays: to compare with the interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from ..codegen.interpret import DTYPES
from ..codegen.loop import Builder, Function, Type, Value, pointer
from ..codegen.lower import module_text
from ..codegen.target import Target, host, host_features
from ..runtime import llvm

_INTEGERS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64}


def native(function: Function, target: Target | None = None) -> Callable[..., None]:
    """The function as machine code; pointers are contiguous arrays, integers are ints, as in `interpret.run`."""
    target = target or host()
    code = llvm.compile_ir(module_text([function], target), target, function.name)
    library = llvm.load([code], [function.name])
    kinds = [ctypes.c_void_p if t.kind == "ptr" else _INTEGERS[t.kind] for _, t in function.params]
    call = ctypes.CFUNCTYPE(None, *kinds)(library.address(function.name))

    def run(*arguments: Any) -> None:
        assert all(x.flags.c_contiguous for x in arguments if isinstance(x, np.ndarray))
        call(*[x.ctypes.data if isinstance(x, np.ndarray) else x for x in arguments])

    run.library = library  # type: ignore[attr-defined]
    return run


def mapping(f: Callable[..., Value], kinds: tuple[str, ...], result: str, lanes: int) -> Function:
    """The function ``(x0, x1, ..., y, n)``: y[i] = f(x0[i], x1[i], ...) for i < n, a multiple of ``lanes``."""
    names = [f"x{i}" for i in range(len(kinds))]
    operands = {n: pointer(kind) for n, kind in zip(names, kinds, strict=True)}
    b = Builder("mapping", **operands, y=pointer(result), n=Type("i64"))
    with b.loop(0, b.n, lanes) as i:
        b.store(b.y, i, f(*[b.load(b.by_name[n], i, lanes=lanes) for n in names]))
    return b.finish()


def mapped(f: Callable[..., Value], *xs: Any, result: str, lanes: int = 16, target: Target | None = None) -> Any:
    """``f``, which writes instructions, applied by machine code to arrays of one size."""
    kinds = tuple(next(kind for kind, dtype in DTYPES.items() if dtype == x.dtype) for x in xs)
    n = xs[0].size
    padded = [np.concatenate([x.reshape(-1), np.ones(-n % lanes, x.dtype)]) for x in xs]
    out = np.empty(padded[0].size, DTYPES[result])
    native(mapping(f, kinds, result, lanes), target)(*padded, out, out.size)
    return out[:n].reshape(xs[0].shape)


def bits_differ(x: Any, y: Any) -> Any:
    """Where two arrays have other bits, any NaN being equal to any other."""
    numbers = x.dtype.itemsize
    same = x.view(f"u{numbers}") == y.view(f"u{numbers}")
    if np.issubdtype(x.dtype, np.integer) or x.dtype == np.bool_:
        return ~same
    with np.errstate(invalid="ignore"):  # bfloat16 says so of NaN
        return ~(same | ((x != x) & (y != y)))


def targets() -> list[Target]:
    """The targets whose code runs here: the host, and narrower ones."""
    from ..codegen import target as known

    presets = (known.avx2(), known.avx512())
    return [
        host(),
        *[t for t in presets if host_features().issuperset(f[1:] for f in t.features.split(",") if f[0] == "+")],
    ]
