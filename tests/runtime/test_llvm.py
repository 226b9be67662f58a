"""Objects from IR for several targets, loading them, and what is said when that fails."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from wengert.codegen import target as targets
from wengert.codegen.target import Target, aarch64, avx2, avx512, host, host_features
from wengert.errors import ArgumentError, WengertError
from wengert.runtime import llvm

# What LLVM calls the features that a preset asks for; a machine that has them runs its code.
NEEDS = {"avx2": targets._X86_V3, "avx512": (*targets._X86_V3, *targets._AVX512)}


def axpy(lanes: int) -> str:
    """IR of ``y += 3 x`` over ``n`` numbers, a multiple of ``lanes``; through stack slots and a function to inline."""
    v = f"<{lanes} x float>"
    return f"""
define internal {v} @triple({v} %x, {v} %y) alwaysinline {{
  %r = call {v} @llvm.fma.v{lanes}f32({v} %x, {v} splat (float 3.0), {v} %y)
  ret {v} %r
}}
define void @axpy(ptr noalias %x, ptr noalias %y, i64 %n) {{
entry:
  %slot = alloca i64
  store i64 0, ptr %slot
  br label %head
head:
  %i = load i64, ptr %slot
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %done
body:
  %px = getelementptr float, ptr %x, i64 %i
  %py = getelementptr float, ptr %y, i64 %i
  %vx = load {v}, ptr %px, align 4
  %vy = load {v}, ptr %py, align 4
  %r = call {v} @triple({v} %vx, {v} %vy)
  store {v} %r, ptr %py, align 4
  %next = add i64 %i, {lanes}
  store i64 %next, ptr %slot
  br label %head
done:
  ret void
}}
declare {v} @llvm.fma.v{lanes}f32({v}, {v}, {v})
"""


def run_axpy(code: bytes) -> None:
    library = llvm.load([code], ["axpy"])
    f = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(library.address("axpy"))
    x = np.arange(64, dtype=np.float32)
    y = np.ones(64, np.float32)
    f(x.ctypes.data, y.ctypes.data, 48)
    np.testing.assert_array_equal(y, np.where(np.arange(64) < 48, 3 * np.arange(64) + 1, 1))


def preset(name: str) -> Target:
    return {"host": host, "avx2": avx2, "avx512": avx512, "aarch64": aarch64}[name]()


@pytest.mark.parametrize("name", ["host", "avx2", "avx512", "aarch64"])
def test_every_target_compiles_and_this_machines_run(name):
    target = preset(name)
    code = llvm.compile_ir(axpy(target.lanes(4)), target, "axpy")
    if target.triple == host().triple and host_features().issuperset(NEEDS.get(name, ())):
        run_axpy(code)
    if "linux" in target.triple:  # ELF: the machine it is for
        assert code[:4] == b"\x7fELF" and code[18] == {"x86_64": 62, "aarch64": 183}[target.architecture]


@pytest.mark.parametrize(("name", "register"), [("avx2", "%ymm"), ("avx512", "%zmm"), ("aarch64", "fmla\t")])
def test_vectors_have_the_targets_width(name, register, tmp_path, monkeypatch):
    monkeypatch.setenv("WENGERT_DUMP", str(tmp_path))
    llvm.compile_ir(axpy(preset(name).lanes(4)), preset(name), name)
    assembly = (tmp_path / f"{name}.s").read_text()
    assert register in assembly and "triple" not in assembly
    assert "alloca" in (tmp_path / f"{name}.ll").read_text()
    assert "alloca" not in (tmp_path / f"{name}.opt.ll").read_text()


def test_presets():
    assert (avx2().vector_bytes, avx2().vector_registers, avx2().has_fma, avx2().bf16_dot) == (32, 16, True, False)
    assert (avx512().vector_bytes, avx512().vector_registers, avx512().lanes(8)) == (64, 32, 8)
    assert (aarch64().vector_bytes, aarch64().vector_registers, aarch64().has_fma) == (16, 32, True)
    assert host().l1 <= host().l2 <= host().l3 and host().l1 >= 8 << 10
    assert host() is host()


def test_the_environment_chooses_the_target(monkeypatch):
    monkeypatch.setenv("WENGERT_TARGET", "avx2")
    assert host() == avx2()
    monkeypatch.setenv("WENGERT_TARGET", "host")
    assert host().name == "host"
    monkeypatch.setenv("WENGERT_TARGET", "z80")
    with pytest.raises(ArgumentError, match=r"unknown target: 'z80'"):
        host()


def test_cache_sizes_from_sysfs(tmp_path, monkeypatch):
    entries = [("1", "Data", "48K"), ("1", "Instruction", "64K"), ("2", "Unified", "2M"), ("3", "Unified", "x")]
    for i, parts in enumerate(entries):
        (tmp_path / f"index{i}").mkdir()
        for name, text in zip(("level", "type", "size"), parts):
            (tmp_path / f"index{i}" / name).write_text(text + "\n")
    (tmp_path / "index9").mkdir()  # nothing in it
    monkeypatch.setattr(targets, "_SYSFS_CACHES", tmp_path)
    assert targets._linux_caches() == {1: 48 << 10, 2: 2 << 20}
    monkeypatch.setattr(targets, "_linux_caches", lambda: {1: 128 << 10, 2: 16 << 20})
    monkeypatch.setattr(targets, "_mac_caches", lambda: {1: 128 << 10, 2: 16 << 20})
    assert targets._cache_sizes() == (128 << 10, 16 << 20, 16 << 20)


def test_objects_are_linked_with_each_other_and_with_given_addresses():
    target = host()
    callback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(lambda x: 10 * x)
    first = llvm.compile_ir(
        "declare i32 @given(i32)\n"
        "define i32 @inner(i32 %x) {\n  %y = call i32 @given(i32 %x)\n  ret i32 %y\n}\n",
        target,
        "inner",
    )  # fmt: skip
    second = llvm.compile_ir(
        "declare i32 @inner(i32)\n"
        "@table = constant [3 x i32] [i32 5, i32 6, i32 7]\n"
        "define i32 @outer(i64 %i) {\n"
        "  %p = getelementptr i32, ptr @table, i64 %i\n  %x = load i32, ptr %p\n"
        "  %y = call i32 @inner(i32 %x)\n  ret i32 %y\n}\n",
        target,
        "outer",
    )
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    library = llvm.load([first, second], ["outer", "table"], {"given": address})
    assert [ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(library.address("outer"))(i) for i in range(3)] == [
        50, 60, 70
    ]  # fmt: skip
    assert list((ctypes.c_int32 * 3).from_address(library.address("table"))) == [5, 6, 7]
    with pytest.raises(KeyError):
        library.address("inner")


def test_libraries_with_equal_symbols_do_not_meet():
    libraries = [
        llvm.load([llvm.compile_ir(f"define i32 @f() {{\n  ret i32 {i}\n}}\n", host(), "f")], ["f"]) for i in range(3)
    ]
    del libraries[1]
    gc.collect()
    assert [ctypes.CFUNCTYPE(ctypes.c_int32)(library.address("f"))() for library in libraries] == [0, 2]


def test_functions_of_the_c_library_are_found():
    ir = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define void @f(ptr %p, i64 %n) {
  call void @llvm.memset.p0.i64(ptr %p, i8 65, i64 %n, i1 false)
  ret void
}
"""
    library = llvm.load([llvm.compile_ir(ir, host(), "f")], ["f"])
    memory = ctypes.create_string_buffer(5)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address("f"))(ctypes.addressof(memory), 4)
    assert memory.raw == b"AAAA\0"


def test_malformed_ir_is_an_error_that_names_the_module(tmp_path, monkeypatch):
    monkeypatch.setenv("WENGERT_DUMP", str(tmp_path))
    with pytest.raises(WengertError, match=r"rejects the module 'bad'.*\n.*value doesn't match"):
        llvm.compile_ir("define void @f() { ret i32 1 }", host(), "bad")
    assert (tmp_path / "bad.ll").exists()


def test_a_missing_symbol_is_an_error():
    code = llvm.compile_ir(
        "declare void @nowhere_at_all()\ndefine void @f() {\n  call void @nowhere_at_all()\n  ret void\n}\n",
        host(),
        "f",
    )
    with pytest.raises(WengertError, match="cannot load the compiled code"):
        llvm.load([code], ["f"])
    with pytest.raises(WengertError, match="cannot load the compiled code"):
        llvm.load([b"no object"], ["f"])


def test_several_threads_compile_at_once():
    results: list[int] = []

    def work(i: int) -> None:
        library = llvm.load([llvm.compile_ir(f"define i32 @f() {{\n  ret i32 {i}\n}}\n", host(), "f")], ["f"])
        results.append(ctypes.CFUNCTYPE(ctypes.c_int32)(library.address("f"))())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(6))


@pytest.mark.slow
def test_libraries_alive_at_exit_are_no_trouble():
    program = (
        "from wengert.codegen.target import host\nfrom wengert.runtime import llvm\n"
        "kept = llvm.load([llvm.compile_ir('define void @f() {\\n  ret void\\n}\\n', host(), 'f')], ['f'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
