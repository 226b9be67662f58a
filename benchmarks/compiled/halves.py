"""Convolutions in bfloat16, beside torch's: alone, and a stack of them with what trains it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .kernels import BATCH, CONVOLUTIONS, PEERS, normal
from .workload import COMPILED, LIBRARY, TORCH, Call, Weights, Workload

DEPTH = 4  # convolutions of a stack
STACKS = {16: 64, 64: 56, 256: 14}  # channels: height and width
ROUNDED = 6e-2  # of the largest element: a first layer's gradient, beside float64, has 4.4e-2 (torch 1.5e-2)


def images(lib: Any, channels: int, size: int) -> Any:
    """As the library has them fastest: torch wants them with channels last."""
    x = normal(lib, BATCH, channels, size, size).to(lib.bfloat16)
    return x.contiguous(memory_format=lib.channels_last) if lib.__name__ == TORCH else x


def weight(lib: Any, channels: int, kernel: int) -> Any:
    return (normal(lib, channels, channels, kernel, kernel) / (channels * kernel**2) ** 0.5).to(lib.bfloat16)


def alone(channels: int, which: int | None) -> Callable[[str, Weights, bool], Call]:
    """A convolution (``None``), or the adjoint of its input (0) or weight (1) alone."""

    def build(contender: str, weights: Weights, quick: bool) -> Call:
        lib: Any = importlib.import_module(LIBRARY[contender])
        size = CONVOLUTIONS[channels]
        x, w, g = images(lib, channels, size), weight(lib, channels, 3), images(lib, channels, size)
        conv = lambda x, w: lib.nn.functional.conv2d(x, w, padding=1)
        if which is None:
            run: Any = lib.compile(conv) if contender == COMPILED else conv
            return lambda: run(x, w)
        if contender == COMPILED:
            pull = lib.compile(lambda x, w, g: lib.func.vjp(conv, x, w)[1](g)[which])
            return lambda: pull(x, w, g)
        leaf = (x, w)[which].requires_grad_()
        y = conv(x, w)
        return lambda: lib.autograd.grad(y, leaf, g, retain_graph=True)[0]

    return build


def stack(channels: int, kernel: int, trains: bool) -> Callable[[str, Weights, bool], Call]:
    """Convolutions with biases and ReLU; ``trains``: and the gradients of their parameters."""

    def build(contender: str, weights: Weights, quick: bool) -> Call:
        lib: Any = importlib.import_module(LIBRARY[contender])
        x = images(lib, channels, STACKS[channels])
        bias = normal(lib, channels).to(lib.bfloat16)
        parameters = [t for _ in range(DEPTH) for t in (weight(lib, channels, kernel), bias.clone())]

        def forward(x: Any, *parameters: Any) -> Any:
            for w, b in zip(parameters[::2], parameters[1::2], strict=True):
                x = lib.nn.functional.conv2d(x, w, b, padding=kernel // 2).relu()
            return x

        def gradients(x: Any, *parameters: Any) -> Any:
            return lib.autograd.grad(forward(x, *parameters).float().square().mean(), parameters)

        if trains:
            for p in parameters:
                p.requires_grad_()
        run: Any = gradients if trains else forward
        run = lib.compile(run) if contender == COMPILED else run
        return lambda: run(x, *parameters)

    return build


def workload(name: str, title: str, build: Any, work: float) -> Workload:
    return Workload(
        name, f"bfloat16: {title}", "bfloat16", build, PEERS, eager_bar=None, work=work, unit="flop", tolerance=ROUNDED
    )


def convolutions() -> list[Workload]:
    out: list[Workload] = []
    for channels, size in CONVOLUTIONS.items():
        work = 2.0 * BATCH * size * size * 9 * channels**2
        label = f"3×3 convolution, {channels} channels, {BATCH} × {size}×{size}"
        out += [
            workload(f"bf16-conv{channels}", label, alone(channels, None), work),
            workload(f"bf16-conv{channels}-input", f"{label}: input gradient", alone(channels, 0), work),
            workload(f"bf16-conv{channels}-weight", f"{label}: weight gradient", alone(channels, 1), work),
        ]
    return out


def stacks() -> list[Workload]:
    out: list[Workload] = []
    for channels, size in STACKS.items():
        for kernel in (1, 3):
            work = 2.0 * DEPTH * BATCH * size * size * (kernel * channels) ** 2
            label = f"{DEPTH} convolutions {kernel}×{kernel}, bias, ReLU, {channels} channels, {BATCH} × {size}×{size}"
            name = f"bf16-stack{channels}-{kernel}"
            out += [
                workload(name, label, stack(channels, kernel, False), work),
                workload(f"{name}-step", f"{label}: gradients", stack(channels, kernel, True), 3 * work),
            ]
    return out


WORKLOADS = [*convolutions(), *stacks()]
