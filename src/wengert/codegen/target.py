"""What the generator must know of a processor: vector width, registers, caches.

Plain data; only `host` asks LLVM, and imports it then. ``WENGERT_TARGET=avx2|avx512|host`` chooses what
`host` returns, so that narrower code can be tested on a wide machine.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ArgumentError, WengertError, message

_SYSFS_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_USUAL_CACHES = (32 << 10, 512 << 10, 8 << 20)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

# AVX-512 code needs all of these: masked operations on 32-bit, 64-bit, 8-bit and 16-bit elements of any width.
_AVX512 = ("avx512f", "avx512vl", "avx512dq", "avx512bw", "avx512cd")
_X86_V3 = ("avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe", "popcnt")
_HAS = "+{}".format
# Take 64 bytes in two halves. Source: AMD, "Software Optimization Guide for the AMD Zen4 Microarchitecture", 2023.
_HALVES = frozenset({"znver4"})


@dataclass(frozen=True)
class Target:
    """A processor to generate code for.

    ``triple``, ``cpu`` and ``features`` are LLVM's, the others tell the generator how to block loops:
    ``vector_bytes`` bytes a vector register, ``vector_registers`` of them, ``l1``, ``l2``, ``l3`` bytes of data
    cache (``l3`` is shared by the cores, the others are one core's). ``bf16_dot`` says that an
    instruction multiplies pairs of bfloat16 and adds them up in float32 (AVX512-BF16) as fast as one of float32 does
    single ones: on a Zen 4, 228 GFLOP/s beside 114; not on Emerald Rapids, 107 beside 213. ``serial``: what is
    generated runs on one thread, so that work need not be cut up to be shared. ``unit_bytes``: bytes that an execution
    unit computes with at once, if it takes the halves of a register one after the other.

    >>> avx2().vector_bytes, avx512().vector_bytes, aarch64().lanes(4)
    (32, 64, 4)
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    has_fma: bool
    bf16_dot: bool = False
    serial: bool = False
    unit_bytes: int = 0
    l1: int = _USUAL_CACHES[0]
    l2: int = _USUAL_CACHES[1]
    l3: int = _USUAL_CACHES[2]

    @property
    def architecture(self) -> str:
        """First part of the triple: ``x86_64`` or ``aarch64`` (``arm64`` on Apple's systems is the same)."""
        first = self.triple.partition("-")[0]
        return {"arm64": "aarch64", "amd64": "x86_64"}.get(first, first)

    def lanes(self, itemsize: int) -> int:
        """How many elements of ``itemsize`` bytes a vector register holds."""
        return self.vector_bytes // itemsize

    def narrowed(self) -> Target:
        """With vectors that the units take whole: for chains of operations, in which each waits for the one before."""
        return replace(self, vector_bytes=self.unit_bytes) if self.unit_bytes else self


def _cache_sizes() -> tuple[int, int, int]:
    """Bytes of data cache in levels 1, 2 and 3, as the system tells, or usual sizes; no level below the one before."""
    found = _linux_caches() if sys.platform.startswith("linux") else _mac_caches() if sys.platform == "darwin" else {}
    l1, l2, l3 = (found.get(level) or usual for level, usual in enumerate(_USUAL_CACHES, 1))
    return l1, max(l1, l2), max(l1, l2, l3)


def _linux_caches() -> dict[int, int]:
    sizes: dict[int, int] = {}
    for index in _SYSFS_CACHES.glob("index*"):
        try:
            level, kind, size = (
                (index / part).read_text(encoding="ascii").strip() for part in ("level", "type", "size")
            )
            if kind != "Instruction":
                sizes[int(level)] = int(size.rstrip("KMG")) * _UNITS.get(size[-1:], 1)
        except (OSError, ValueError):
            continue  # containers may hide single files
    return sizes


def _mac_caches() -> dict[int, int]:
    """By sysctl; the fast cores come first."""
    libc = ctypes.CDLL(None)
    sizes: dict[int, int] = {}
    for level, key in {1: "l1dcachesize", 2: "l2cachesize", 3: "l3cachesize"}.items():
        for name in (f"hw.perflevel0.{key}", f"hw.{key}"):
            value, length = ctypes.c_uint64(0), ctypes.c_size_t(8)
            libc.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(length), None, ctypes.c_size_t(0))
            if value.value:
                sizes[level] = value.value
                break
    return sizes


def _x86(name: str, cpu: str, features: str, available: frozenset[str], triple: str) -> Target:
    """An x86-64 target with what ``available`` allows."""
    wide = available.issuperset(_AVX512)
    medium = available.issuperset(("avx2", "fma"))
    l1, l2, l3 = _cache_sizes()
    return Target(
        name=name,
        triple=triple,
        cpu=cpu,
        # Some processors are tuned to 256 bits, which would split the 512-bit vectors of explicit vector code.
        features=features + (",-prefer-256-bit" if wide else ""),
        vector_bytes=64 if wide else 32 if medium else 16,
        vector_registers=32 if wide else 16,
        has_fma="fma" in available,
        bf16_dot=wide and "avx512bf16" in available and cpu.startswith("znver"),
        unit_bytes=32 if wide and cpu in _HALVES else 0,
        l1=l1,
        l2=l2,
        l3=l3,
    )


def _linux(architecture: str) -> str:
    return f"{architecture}-unknown-linux-gnu"


def _preset_triple() -> str:
    """The host's system if the host is an x86-64, so that presets run there; else Linux."""
    native = _native_triple()
    return native if native.startswith("x86_64") else _linux("x86_64")


def avx2() -> Target:
    """Any x86-64 with AVX2 and FMA: 16 registers of 32 bytes (the psABI's level x86-64-v3)."""
    return _x86("avx2", "x86-64-v3", ",".join(map(_HAS, _X86_V3)), frozenset(_X86_V3), _preset_triple())


def avx512() -> Target:
    """Any x86-64 with AVX-512 F, VL, DQ, BW, CD: 32 registers of 64 bytes (the psABI's level x86-64-v4)."""
    features = (*_X86_V3, *_AVX512)
    return _x86("avx512", "x86-64-v4", ",".join(map(_HAS, features)), frozenset(features), _preset_triple())


def aarch64() -> Target:
    """Any 64-bit ARM, on Linux: 32 registers of 16 bytes (NEON)."""
    return Target("aarch64", _linux("aarch64"), "generic", "+neon,+fp-armv8", 16, 32, has_fma=True)


_PRESETS = {"avx2": avx2, "avx512": avx512}


def host() -> Target:
    """The processor this runs on, or what ``WENGERT_TARGET`` names instead (``avx2``, ``avx512``, ``host``).

    Raises `wengert.errors.ArgumentError` if that name is unknown.
    """
    return _chosen(os.environ.get("WENGERT_TARGET", "host") or "host")


@functools.cache
def _chosen(name: str) -> Target:
    if name == "host":
        return _detect()
    if name not in _PRESETS:
        known = ", ".join(["host", *_PRESETS])
        raise ArgumentError(message("WENGERT_TARGET", "unknown target", repr(name), f"one of {known}"))
    return _PRESETS[name]()


@functools.cache
def _native_triple() -> str:
    import llvmlite.binding as llvm

    return llvm.get_process_triple()


@functools.cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features that this machine's processor has."""
    import llvmlite.binding as llvm

    try:
        return frozenset(feature for feature, there in llvm.get_host_cpu_features().items() if there)
    except RuntimeError:  # LLVM cannot tell on this system
        return frozenset()


def _detect() -> Target:
    import llvmlite.binding as llvm

    available = host_features()
    features = llvm.get_host_cpu_features().flatten() if available else ""
    cpu, triple = llvm.get_host_cpu_name(), _native_triple()
    if triple.startswith("x86_64"):
        return _x86("host", cpu, features, available, triple)
    if triple.startswith(("aarch64", "arm64")):
        l1, l2, l3 = _cache_sizes()
        return replace(aarch64(), name="host", triple=triple, cpu=cpu, features=features, l1=l1, l2=l2, l3=l3)
    raise WengertError(message("compile", "no code generator for this processor", triple, "eager mode works here"))
