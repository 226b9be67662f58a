"""Processes that help compiling: the same objects, whatever becomes of them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import wengert as wg
from wengert.codegen.target import host
from wengert.errors import ArgumentError, WengertError
from wengert.runtime import cache, crew, llvm, pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="looks after processes as Unix has them"),
]


def constant(value: int) -> str:
    return f"define i32 @f() {{\n  ret i32 {value}\n}}\n"


@pytest.fixture
def helpers(tmp_path, monkeypatch) -> list[crew.Helper]:
    """Two helpers, an empty cache, and nothing in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("WENGERT_HELPERS", "2")
    monkeypatch.setattr(cache, "_memory", {})
    crew.start()
    return crew._crews[os.getpid(), 2].helpers


def test_objects_are_those_compiled_here(helpers):
    texts = [constant(i) for i in range(20)]
    begun = [crew.begin(text, host()) for text in texts]
    assert all(f is not None for f in begun)
    assert [f.result() for f in begun if f is not None] == [llvm.compile_ir(text, host(), "f") for text in texts]


def test_a_program_of_many_kernels(helpers, monkeypatch):
    seen: list[bytes | None] = []
    compile = crew.Helper.compile
    monkeypatch.setattr(crew.Helper, "compile", lambda self, *a: seen.append(compile(self, *a)) or seen[-1])

    def f(x: wg.Tensor) -> wg.Tensor:
        for i in range(12):
            x = wg.softmax(x @ x.T, -1)[:, : 17 + i % 2] + i
            x = wg.cat([x, x[:1]])
        return x

    x = wg.randn(18, 18)
    np.testing.assert_allclose(wg.compile(f)(x).numpy(), f(x).numpy(), rtol=1e-5)
    assert seen and all(seen) and not cache._begun


def test_what_llvm_rejects_is_told_here(helpers):
    cache.begin("define void @f() { ret i32 1 }", host())
    with pytest.raises(WengertError, match="LLVM rejects"):
        cache.get_object("define void @f() { ret i32 1 }", host(), "bad")


def test_a_killed_helper_is_replaced(helpers):
    for value in range(3):
        for helper in helpers:
            if helper.process is not None:
                helper.process.kill()
        text = constant(100 + value)
        cache.begin(text, host())
        assert cache.get_object(text, host(), "f") == llvm.compile_ir(text, host(), "f")


def test_helpers_that_cannot_start_are_not_tried_again(tmp_path, monkeypatch):
    starts: list[object] = []
    monkeypatch.setattr(pipeline, "__file__", str(tmp_path / "missing.py"))
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: starts.append(a) or popen(*a, **k))
    helper = crew.Helper()
    assert [helper.compile(constant(1), host()) for _ in range(3)] == [None] * 3
    assert len(starts) == 1 and helper.process is None


def test_a_forked_process_has_helpers_of_its_own(helpers):
    cache.begin(constant(200), host())
    child = os.fork()
    if child == 0:
        crew.start()
        cache.begin(constant(201), host())
        codes = [cache.get_object(constant(i), host(), "f") for i in (200, 201)]
        os._exit(0 if all(codes) and crew._crews[os.getpid(), 2].helpers is not helpers else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.get_object(constant(200), host(), "f")


def test_helpers_end_with_their_parent():
    program = (
        "import os, signal; from wengert.runtime import crew\n"
        "crew.start(); h = crew._crews[os.getpid(), 1].helpers[0]\n"
        "from wengert.codegen.target import host\n"
        "assert crew.begin('define i32 @f() {\\n  ret i32 1\\n}\\n', host()).result()\n"
        "print(h.process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "WENGERT_HELPERS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    helper, patience = int(done.stdout), time.monotonic() + 60
    while time.monotonic() < patience and _lives(helper):
        time.sleep(0.05)
    assert not _lives(helper)


def test_a_program_that_ends_does_not_wait_for_what_nobody_asks_for():
    program = (
        "import atexit; from wengert.runtime import crew; from wengert.codegen.target import host\n"
        "done, answer = [], crew.Helper._answer\n"
        "crew.Helper._answer = lambda self: done.append(answer(self)) or done[-1]\n"
        "atexit.register(lambda: print(len(done)))\n"
        "crew.start()\n"
        "for i in range(500): crew.begin('define i32 @f() {\\n  ret i32 %d\\n}\\n' % i, host())"
    )
    environment = {**os.environ, "WENGERT_HELPERS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert int(done.stdout) < 100, done.stderr


def test_helpers_end_when_idle():
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; from wengert.runtime import pipeline as p; p.IDLE_SECONDS = 0.1"
    )
    command = [sys.executable, "-c", program + "; p.serve()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as helper:
        assert helper.stdout is not None and pickle.load(helper.stdout) is True
        assert helper.wait(60) == 0


def test_how_many_there_are(monkeypatch):
    monkeypatch.setenv("WENGERT_HELPERS", "many")
    with pytest.raises(ArgumentError, match="WENGERT_HELPERS: must be a whole number"):
        crew.wanted()
    monkeypatch.delenv("WENGERT_HELPERS")
    assert 0 <= crew.wanted() <= crew.MOST
    monkeypatch.setattr(sys, "executable", "/usr/bin/some-application")
    assert crew.wanted() == 0


def _lives(pid: int) -> bool:
    """Whether a process runs: neither gone nor waiting to be buried."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not os.path.exists("/proc") and _signalled(pid)


def _signalled(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
