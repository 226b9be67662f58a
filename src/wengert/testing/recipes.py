"""Recipes of kernels as machine code of this process, and operands that lie in memory as those see them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

import numpy as np

from ..codegen import interpret as interpreter
from ..codegen.interpret import DTYPES
from ..codegen.kernel import Recipe
from ..codegen.lower import module_text
from ..codegen.target import Target
from ..runtime import llvm
from ..runtime.cache import get_object

Strides = Callable[[tuple[int, ...]], tuple[int, ...]]


def order(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of memory in which the last of ``dims`` runs fastest."""
    strides, step = [0] * len(shape), 1
    for d in reversed(dims):
        strides[d], step = step, step * max(shape[d], 1)
    return tuple(strides)


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of (N, C, *D) as it is written."""
    return order(shape, tuple(range(len(shape))))


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of (N, C, *D) with the channels running fastest."""
    return order(shape, (0, *range(2, len(shape)), 1))


def placed(x: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """A copy of ``x`` in memory of the given order, between elements that nobody may touch."""
    n = sum((size - 1) * step for size, step in zip(x.shape, strides, strict=True)) + 1 if x.size else 1
    memory = np.full(n * x.itemsize, 0xFF, np.uint8)  # NaN, or -1
    view = np.ndarray(x.shape, x.dtype, memory, 0, [s * x.itemsize for s in strides])
    view[...] = x
    return view


def _aligned(nbytes: int) -> np.ndarray:
    """Memory that is NaN, or -1, should anything read it unwritten."""
    raw = np.full(nbytes + 64, 0xFF, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def _with_temps(recipe: Recipe, operands: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    temps = {name: _aligned(n * DTYPES[kind].itemsize) for name, (kind, n) in recipe.temps.items()}
    return {**operands, **temps}


def interpreted(recipe: Recipe, operands: Mapping[str, np.ndarray]) -> None:
    """Run a recipe by the interpreter, which checks every access; operands are contiguous, or `placed`."""
    memory = {
        name: x if x.flags.c_contiguous or x.base is None else x.base
        for name, x in _with_temps(recipe, operands).items()
    }
    for step in recipe.steps:
        kernel = step.kernel
        given = [memory[name] for name in step.operands]
        interpreter.run(kernel.function, *given, _aligned(kernel.scratch), 0, kernel.tiles)


def run(recipe: Recipe, target: Target, operands: Mapping[str, np.ndarray], cuts: int = 1) -> None:
    """Run a recipe whose kernels' tiles are cut into so many ranges."""
    memory = _with_temps(recipe, operands)
    for step in recipe.steps:
        f = step.kernel.function
        library = llvm.load([get_object(module_text([f]), target, f.name)], [f.name])
        types = [ctypes.c_void_p] * (len(step.operands) + 1) + [ctypes.c_int64] * 2
        call = ctypes.CFUNCTYPE(None, *types)(library.address(f.name))
        scratch = np.full(step.kernel.scratch + 128, 0xFF, np.uint8)
        addresses = [memory[name].ctypes.data for name in step.operands]
        start = scratch.ctypes.data + -scratch.ctypes.data % 64
        for i in range(cuts):
            call(*addresses, start, step.kernel.tiles * i // cuts, step.kernel.tiles * (i + 1) // cuts)
        assert (scratch[start - scratch.ctypes.data + step.kernel.scratch :] == 0xFF).all(), (
            "written behind its scratch"
        )
