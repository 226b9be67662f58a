"""What the machine can do: fused multiply-adds of one core, bytes copied. Measured, not looked up."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np


def chains(features: dict[str, bool]) -> int:
    """Independent sums: more than latency times units, fewer than registers."""
    return 24 if features.get("avx512f") else 12


def fma_ir(lanes: int, scalar: str, count: int) -> str:
    """A loop of ``count`` independent vector multiply-adds in registers."""
    v = f"<{lanes} x {scalar}>"
    suffix = f"v{lanes}{'f32' if scalar == 'float' else 'f64'}"
    phis = "\n".join(f"  %c{i} = phi {v} [zeroinitializer, %entry], [%n{i}, %loop]" for i in range(count))
    fmas = "\n".join(f"  %n{i} = call {v} @llvm.fma.{suffix}({v} %a, {v} %b, {v} %c{i})" for i in range(count))
    stores = "\n".join(
        f"  %p{i} = getelementptr {v}, ptr %out, i64 {i}\n  store {v} %n{i}, ptr %p{i}, align 8" for i in range(count)
    )
    return f"""
declare {v} @llvm.fma.{suffix}({v}, {v}, {v})
define void @peak(i64 %n, ptr %in, ptr %out) {{
entry:
  %a = load {v}, ptr %in, align 8
  %q = getelementptr {v}, ptr %in, i64 1
  %b = load {v}, ptr %q, align 8
  br label %loop
loop:
  %k = phi i64 [0, %entry], [%k1, %loop]
{phis}
{fmas}
  %k1 = add i64 %k, 1
  %done = icmp eq i64 %k1, %n
  br i1 %done, label %end, label %loop
end:
{stores}
  ret void
}}
"""


def best_of(run: Any, seconds: float) -> float:
    """The shortest time of a call, from as many as fit."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def vector_bytes(features: dict[str, bool]) -> int:
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


def fma_peak(dtype: str = "float32", seconds: float = 0.5) -> float:
    """Floating-point operations a second of one core in fused multiply-adds, two for each."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    count = chains(dict(features))
    scalar, size = ("float", 4) if dtype == "float32" else ("double", 8)
    lanes = vector_bytes(dict(features)) // size
    flags = features.flatten() + (",-prefer-256-bit" if vector_bytes(dict(features)) == 64 else "")
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=flags, opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(fma_ir(lanes, scalar, count)), machine)
    engine.finalize_object()
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address("peak"))
    given, out = np.full(2 * lanes, 0.5, dtype), np.empty(count * lanes, dtype)
    n = 200_000
    best = best_of(lambda: call(n, given.ctypes.data, out.ctypes.data), seconds)
    return 2 * count * lanes * n / best


def copy_bandwidth(seconds: float = 2.0, size: int = 1 << 28) -> float:
    """Bytes read and written a second when copying `size` bytes by one thread."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return 2 * size / best_of(lambda: np.copyto(target, source), seconds)


def copy_bandwidth_threads(threads: int, size: int = 1 << 28) -> float:
    """The same by several threads, each on its own part."""
    from concurrent.futures import ThreadPoolExecutor

    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = [slice(i * size // threads, (i + 1) * size // threads) for i in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return 2 * size / best_of(lambda: list(pool.map(lambda s: np.copyto(target[s], source[s]), parts)), 2.0)


def peaks(threads: int) -> dict[str, float]:
    """Peak of one core, times the threads for arithmetic; bandwidth of all threads together."""
    bandwidth = copy_bandwidth() if threads == 1 else copy_bandwidth_threads(threads)
    return {"flop": threads * fma_peak(), "byte": bandwidth, "flop64": threads * fma_peak("float64")}
