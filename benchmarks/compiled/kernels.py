"""Kernels alone, against the machine's peak; and what a call of a compiled function costs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .workload import COMPILED, EAGER, LIBRARY, TORCH, Call, Weights, Workload

PEERS = (EAGER, COMPILED, TORCH)
CONVOLUTIONS = {16: 64, 32: 56, 64: 56, 128: 28, 256: 14, 512: 7}  # channels: height and width
BATCH = 8
ROWS, COLUMNS = 65_536, 1024
PARAMETERS = 32 << 20


def normal(lib: Any, *shape: int) -> Any:
    return lib.tensor(np.random.default_rng(0).standard_normal(shape, np.float32))


def simple(f: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[str, Weights, bool], Call]:
    """``f(lib, *tensors)`` without gradient."""

    def build(contender: str, weights: Weights, quick: bool) -> Call:
        lib: Any = importlib.import_module(LIBRARY[contender])
        xs = [normal(lib, *(shape if not quick else (min(shape[0], 1024), *shape[1:]))) for shape in shapes]
        run: Any = lambda *xs: f(lib, *xs)
        run = lib.compile(run) if contender == COMPILED else run
        return lambda: run(*xs)

    return build


def gradient(channels: int, which: int) -> Callable[[str, Weights, bool], Call]:
    """The adjoint of a convolution's input (0) or weight (1) alone: the forward pass is not measured."""

    def build(contender: str, weights: Weights, quick: bool) -> Call:
        lib: Any = importlib.import_module(LIBRARY[contender])
        size = CONVOLUTIONS[channels]
        x, w = normal(lib, BATCH, channels, size, size), normal(lib, channels, channels, 3, 3)
        g = normal(lib, BATCH, channels, size, size)
        conv = lib.nn.functional.conv2d
        if contender == COMPILED:  # the result of the forward pass is not needed, so it is not computed
            pull = lib.compile(lambda x, w, g: lib.func.vjp(lambda x, w: conv(x, w, padding=1), x, w)[1](g)[which])
            return lambda: pull(x, w, g)
        leaf = (x, w)[which].requires_grad_()
        y = conv(x, w, padding=1)
        return lambda: lib.autograd.grad(y, leaf, g, retain_graph=True)[0]

    return build


def adam(contender: str, weights: Weights, quick: bool) -> Call:
    lib: Any = importlib.import_module(LIBRARY[contender])
    n = PARAMETERS // 64 if quick else PARAMETERS
    p = lib.nn.Parameter(normal(lib, n))
    p.grad = normal(lib, n)
    optimizer = lib.optim.Adam([p], lr=1e-3, **({"fused": True} if contender == TORCH else {}))
    update = lib.compile(lambda: optimizer.step()) if contender == COMPILED else optimizer.step

    def run() -> Any:
        update()
        return p

    return run


def kernel(name: str, title: str, build: Any, work: float, unit: str, share: float) -> Workload:
    return Workload(
        name, title, "kernel", build, PEERS, bar=None, eager_bar=None, work=work, unit=unit, share=share, tolerance=1e-3
    )


def convolutions() -> list[Workload]:
    out = []
    for channels, size in CONVOLUTIONS.items():
        work = 2.0 * BATCH * size * size * 9 * channels**2
        shapes = (BATCH, channels, size, size), (channels, channels, 3, 3)
        forward = simple(lambda lib, x, w: lib.nn.functional.conv2d(x, w, padding=1), *shapes)
        label = f"3×3 convolution, {channels} channels, {BATCH} × {size}×{size}"
        out += [
            kernel(f"conv{channels}", label, forward, work, "flop", 0.85),
            kernel(f"conv{channels}-input", f"{label}: input gradient", gradient(channels, 0), work, "flop", 0.85),
            kernel(f"conv{channels}-weight", f"{label}: weight gradient", gradient(channels, 1), work, "flop", 0.85),
        ]
    return out


def layer_norm(lib: Any, x: Any) -> Any:
    return lib.nn.functional.layer_norm(x, (COLUMNS,))


MATRIX = (1024, 1024)
WIDE = (ROWS, COLUMNS)
ONCE = 2.0 * 4 * ROWS * COLUMNS  # read and written

WORKLOADS = [
    kernel("matmul", "matmul 1024³", simple(lambda lib, a, b: a @ b, MATRIX, MATRIX), 2.0 * 1024**3, "flop", 0.95),
    *convolutions(),
    kernel("softmax", "softmax, 65 536 × 1024", simple(lambda lib, x: lib.softmax(x, 1), WIDE), ONCE, "byte", 0.85),
    kernel("layernorm", "layer norm, 65 536 × 1024", simple(layer_norm, WIDE), ONCE, "byte", 0.85),
    kernel("adam", "Adam, 33.5 M parameters (torch: fused)", adam, 7.0 * 4 * PARAMETERS, "byte", 0.85),
    Workload(
        "overhead", "a * b + c, 8 elements each", "overhead",
        simple(lambda lib, a, b, c: a * b + c, (8,), (8,), (8,)), PEERS, eager_bar=None, limits={"seconds": 5e-6},
    ),
]  # fmt: skip
