"""The cache of objects: whole or nothing, whoever writes, whatever lies there."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wengert.codegen.target import avx2, host
from wengert.errors import ArgumentError
from wengert.runtime import cache, llvm


def constant(value: int) -> str:
    """IR of a function ``f`` that returns a number."""
    return f"define i32 @f() {{\n  ret i32 {value}\n}}\n"


def call(code: bytes) -> int:
    library = llvm.load([code], ["f"])
    return ctypes.CFUNCTYPE(ctypes.c_int32)(library.address("f"))()


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """An empty cache directory, and nothing in memory; counts what is compiled in ``compiled``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("WENGERT_CACHE", "WENGERT_CACHE_BYTES", "WENGERT_DUMP", "WENGERT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    forget(monkeypatch)
    return tmp_path / "wengert"


def forget(monkeypatch) -> None:
    """As in a new process."""
    monkeypatch.setattr(cache, "_memory", {})
    monkeypatch.setattr(cache, "_unmeasured", cache._DEFAULT_LIMIT)


@pytest.fixture
def compiled(monkeypatch) -> list[str]:
    names: list[str] = []
    real = llvm.compile_ir
    monkeypatch.setattr(llvm, "compile_ir", lambda ir, target, name: names.append(name) or real(ir, target, name))
    return names


def files(kept: Path) -> list[Path]:
    return sorted(kept.iterdir())


def test_equal_ir_is_compiled_once(kept, compiled, monkeypatch):
    first = cache.get_object(constant(3), host(), "a")
    assert cache.get_object(constant(3), host(), "b") == first and call(first) == 3
    forget(monkeypatch)
    assert cache.get_object(constant(3), host(), "c") == first
    assert compiled == ["a"] and len(files(kept)) == 1


def test_the_key_holds_all_that_the_object_depends_on(kept, compiled, monkeypatch):
    cache.get_object(constant(3), host(), "host")
    cache.get_object(constant(3), avx2(), "avx2")
    cache.get_object(constant(4), host(), "ir")
    monkeypatch.setattr(llvm, "versions", lambda: "another")
    cache.get_object(constant(3), host(), "version")
    assert compiled == ["host", "avx2", "ir", "version"] and len(files(kept)) == 4


@pytest.mark.parametrize("damage", ["truncated", "empty", "header only", "flipped", "text", "longer"])
def test_a_damaged_file_is_compiled_again_and_replaced(kept, compiled, monkeypatch, damage):
    good = cache.get_object(constant(5), host(), "first")
    (path,) = files(kept)
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-7],
            "empty": b"",
            "header only": content[: len(cache._FORMAT) + cache._DIGEST_BYTES],
            "flipped": content[:-1] + bytes([content[-1] ^ 1]),
            "text": b"not an object\n",
            "longer": content + b"\0",
        }[damage]
    )
    forget(monkeypatch)
    assert call(cache.get_object(constant(5), host(), "again")) == 5
    assert compiled == ["first", "again"] and path.read_bytes() == content and files(kept) == [path]
    forget(monkeypatch)
    assert cache.get_object(constant(5), host(), "third") == good and compiled == ["first", "again"]


def test_switched_off(kept, compiled, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE", "0")
    assert call(cache.get_object(constant(6), host(), "a")) == 6
    assert cache.directory() is None and not kept.exists()


def test_a_directory_that_cannot_be_written(kept, compiled, monkeypatch, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_the_way))
    assert call(cache.get_object(constant(7), host(), "a")) == 7
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert call(cache.get_object(constant(8), host(), "b")) == 8
    assert compiled == ["a", "b"]


def test_a_full_disk_leaves_nothing_behind(kept, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert call(cache.get_object(constant(9), host(), "a")) == 9
    assert files(kept) == []


def test_the_size_is_bounded_and_the_least_recently_used_go(kept, compiled, monkeypatch):
    cache.get_object(constant(0), host(), "0")
    size = files(kept)[0].stat().st_size
    monkeypatch.setenv("WENGERT_CACHE_BYTES", str(size * 5))
    for value in range(1, 4):
        cache.get_object(constant(value), host(), str(value))
    for age, value in enumerate((2, 3, 0, 1)):  # the first of these was used longest ago
        os.utime(kept / f"{cache._key(constant(value), host())}.o", (1e9 + age, 1e9 + age))
    forget(monkeypatch)
    cache.get_object(constant(2), host(), "from disk")  # now the one used last
    for value in (10, 11):
        cache.get_object(constant(value), host(), str(value))
    left = {path.name for path in files(kept)}
    assert sum(path.stat().st_size for path in files(kept)) <= size * 5
    assert left == {f"{cache._key(constant(value), host())}.o" for value in (1, 2, 10, 11)}


def test_an_object_larger_than_the_bound_is_not_kept(kept, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE_BYTES", "10")
    assert call(cache.get_object(constant(1), host(), "a")) == 1
    assert not kept.exists()


def test_the_bound_must_be_a_number(kept, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE_BYTES", "1 GB")
    with pytest.raises(ArgumentError, match=r"WENGERT_CACHE_BYTES.*1 GB"):
        cache.get_object(constant(1), host(), "a")


def test_what_dead_processes_left_is_removed(kept, monkeypatch):
    kept.mkdir(parents=True)
    for name, age in (("dead.tmp", 2e5), ("alive.tmp", 0.0)):
        (kept / name).write_bytes(b"x")
        os.utime(kept / name, (os.path.getatime(kept), os.path.getmtime(kept) - age))
    cache.get_object(constant(1), host(), "a")
    assert [path.name for path in files(kept) if path.suffix == ".tmp"] == ["alive.tmp"]


def test_memory_is_bounded(kept, compiled, monkeypatch):
    monkeypatch.setattr(cache, "_MEMORY_ENTRIES", 2)
    for value in (1, 2, 3):
        cache.get_object(constant(value), host(), str(value))
    assert len(cache._memory) == 2


def test_dumping_compiles_what_the_disk_has(kept, compiled, monkeypatch, tmp_path):
    cache.get_object(constant(2), host(), "silent")
    forget(monkeypatch)
    monkeypatch.setenv("WENGERT_DUMP", str(tmp_path / "dump"))
    cache.get_object(constant(2), host(), "a kernel/1")
    assert compiled == ["silent", "a kernel/1"]
    stem = tmp_path / "dump" / "a_kernel_1"
    assert "ret i32 2" in stem.with_name("a_kernel_1.ll").read_text()
    assert "ret i32 2" in stem.with_name("a_kernel_1.opt.ll").read_text()
    assert "ret" in stem.with_name("a_kernel_1.s").read_text()


def test_threads_compile_equal_ir_once(kept, compiled):
    codes: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: codes.append(cache.get_object(constant(77), host(), "t"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiled == ["t"] and len(set(codes)) == 1 and len(codes) == 4


@pytest.mark.slow
def test_processes_share_one_directory(kept):
    """Four processes write and read the same keys under a bound so small that they keep removing each other's."""
    script = (
        "import ctypes\n"
        "from wengert.codegen.target import host\n"
        "from wengert.runtime import cache, llvm\n"
        "for turn in range(3):\n"
        "    cache._memory.clear()\n"
        "    for value in range(12):\n"
        "        code = cache.get_object('define i32 @f() {\\n  ret i32 %d\\n}\\n' % value, host(), 'p')\n"
        "        library = llvm.load([code], ['f'])\n"
        "        assert ctypes.CFUNCTYPE(ctypes.c_int32)(library.address('f'))() == value\n"
    )
    environment = {**os.environ, "WENGERT_CACHE_BYTES": "4000"}
    processes = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE) for _ in range(4)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert errors == [b""] * 4
    assert all(path.suffix == ".o" for path in files(kept))
