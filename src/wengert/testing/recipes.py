"""Recipes of kernels as machine code of this process, and operands that lie in memory as those see them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

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
    memory = np.full(n * x.itemsize, 0xFF, np.uint8).view(x.dtype)  # NaN, or -1
    view = np.lib.stride_tricks.as_strided(memory, x.shape, [s * x.itemsize for s in strides])
    view[...] = x
    return view


def run(recipe: Recipe, target: Target, operands: Mapping[str, np.ndarray], cuts: int = 1) -> None:
    """Run a recipe whose kernels' tiles are cut into so many ranges."""
    memory: dict[str, Any] = dict(operands)
    for name, (kind, n) in recipe.temps.items():
        raw = np.full(
            n * np.dtype(DTYPES[kind]).itemsize + 64, 0xFF, np.uint8
        )  # NaN, should anything read it unwritten
        start = -raw.ctypes.data % 64
        memory[name] = raw[start:]
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
