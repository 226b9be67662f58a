"""Matrix products: the recipe of kernels for a product of given shapes, strides and kind.

`contract_plan` decides how a product is computed, `contract_kernels` writes the kernels.
"""

from __future__ import annotations

import functools
import hashlib
import math

from .contract_dot import dot_kernel, sum_kernel
from .contract_kernels import Maps, Writer
from .contract_plan import Plan, Product, plan
from .kernel import Epilogue, Kernel, Prologue, Recipe, Step
from .loop import Function
from .lower import module_text
from .target import Target

__all__ = ["Product", "matmul"]

_CACHED = 4096


@functools.lru_cache(_CACHED)
def matmul(
    spec: Product,
    target: Target,
    epilogue: Epilogue | None = None,
    prologue_a: Prologue | None = None,
    prologue_b: Prologue | None = None,
) -> Recipe:
    """The kernels of a product. Operands: ``a``, ``b``, ``c``, then those of the epilogue and the prologues.

    ``epilogue`` is given sums (in float32 for bf16), scaled and accumulated, as vectors along the dimension of ``c``
    with stride 1; its `Place` has the indices of ``c``. A prologue is given elements of ``a`` (place: batch, m, k)
    or ``b`` (batch, k, n), as they lie in memory, and gives those to multiply instead; it may be asked several
    times for the same element. Both must be hashable; equal ones mean the same.

    Steps that pack an operand read nothing else but what its prologue does, so they can be left out of a loop in which
    that does not change.
    """
    maps = Maps(prologue_a, prologue_b, epilogue)
    work = [0 if f is None else f.work for f in (prologue_a, prologue_b)]
    decided = plan(spec, target, *work, followed=epilogue is not None)
    return _recipe(decided, target, maps)


def _recipe(decided: Plan, target: Target, maps: Maps) -> Recipe:
    spec, q = decided.problem.product, decided.problem
    writer = Writer(decided, target, maps)
    stem = _stem(spec, target)
    temps: dict[str, tuple[str, int]] = {}
    steps: list[Step] = []
    given: dict[str, str] = {}
    for side, how in ((q.x, decided.pack_x), (q.y, decided.pack_y)):
        if how == "temp" and spec.flops:
            kernel, elements = writer.pack_kernel(side, f"pack_{stem}")
            given[side.operand] = f"packed_{side.operand}"
            temps[given[side.operand]] = (writer.packed, elements)
            steps.append(_step(kernel, {"source": side.operand, "packed": given[side.operand]}))
    write = {"tiles": Writer.tile_kernel, "dots": dot_kernel, "sums": sum_kernel}[decided.how]
    kernel = write(writer, f"product_{stem}")
    if decided.chunks > 1:
        temps["partial"] = (writer.kind, math.prod(q.batch) * decided.chunks * q.i * q.j)
        steps.append(_step(kernel, given | {"c": "partial"}))
        steps.append(_step(writer.combine_kernel(f"combine_{stem}"), {}))
    else:
        steps.append(_step(kernel, given))
    return Recipe(tuple(steps), temps)


def _step(kernel: Kernel, given: dict[str, str]) -> Step:
    """A step with a kernel named by its content; ``given``: buffers that are not called like the parameter."""
    f = kernel.function
    operands = tuple(given.get(name, name) for name, _ in f.params[:-3])
    return Step(kernel._replace(function=_named(f)), operands)


_known: dict[str, Function] = {}


def _named(f: Function) -> Function:
    """The function under a name that tells its content, the same object for the same content."""
    digest = hashlib.sha256(module_text([f]).encode()).hexdigest()[:12]
    name = f"{f.name}_{digest}"
    return _known.setdefault(name, f._replace(name=name))


def _stem(spec: Product, target: Target) -> str:
    batch = "".join(f"{size}x" for size in spec.batch)
    return f"{spec.kind}_{batch}{spec.m}x{spec.n}x{spec.k}"
