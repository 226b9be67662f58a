"""The thread pool: every thread, every phase, in every situation a process can be in. Nothing here measures time."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import wengert as wg
from wengert import config
from wengert.codegen.target import aarch64, host
from wengert.errors import ArgumentError, DTypeError
from wengert.runtime import llvm, pool, pool_ir
from wengert.runtime.cache import get_object
from wengert.runtime.pool import Pool

pytestmark = pytest.mark.slow

WAYS = ["futex", "portable"] if sys.platform.startswith("linux") else ["portable"]

# `stress`: in each of args[3] phases a thread writes its slot, and after the barrier adds up everybody's. Without
# a true barrier it sees old numbers. args: [slots, sums, threads seen], a slot every 128 bytes.
# `relay`: calls the function at args[0] on thread 0, between two barriers.
PLANS = """
declare void @wengert_barrier(ptr, i32)

define void @stress(ptr %args, i32 %thread, i32 %threads, ptr %barrier) {
entry:
  %slots = load ptr, ptr %args
  %sums.p = getelementptr ptr, ptr %args, i64 1
  %sums = load ptr, ptr %sums.p
  %seen.p = getelementptr ptr, ptr %args, i64 2
  %seen = load ptr, ptr %seen.p
  %phases.p = getelementptr ptr, ptr %args, i64 3
  %phases = load i64, ptr %phases.p
  %t = zext i32 %thread to i64
  %n = zext i32 %threads to i64
  %mine = getelementptr [16 x i64], ptr %slots, i64 %t
  %sum = getelementptr [16 x i64], ptr %sums, i64 %t
  %cell = getelementptr [16 x i64], ptr %seen, i64 %t
  store i64 %n, ptr %cell
  store i64 0, ptr %sum
  br label %phase
phase:
  %p = phi i64 [0, %entry], [%p1, %after]
  %p1 = add i64 %p, 1
  store i64 %p1, ptr %mine
  call void @wengert_barrier(ptr %barrier, i32 %threads)
  br label %add
add:
  %j = phi i64 [0, %phase], [%j1, %add]
  %other = getelementptr [16 x i64], ptr %slots, i64 %j
  %x = load i64, ptr %other
  %s = load i64, ptr %sum
  %s1 = add i64 %s, %x
  store i64 %s1, ptr %sum
  %j1 = add i64 %j, 1
  %more = icmp slt i64 %j1, %n
  br i1 %more, label %add, label %after
after:
  call void @wengert_barrier(ptr %barrier, i32 %threads)
  %again = icmp slt i64 %p1, %phases
  br i1 %again, label %phase, label %done
done:
  ret void
}

define void @relay(ptr %args, i32 %thread, i32 %threads, ptr %barrier) {
entry:
  call void @wengert_barrier(ptr %barrier, i32 %threads)
  %first = icmp eq i32 %thread, 0
  br i1 %first, label %call, label %skip
call:
  %f = load ptr, ptr %args
  call void %f(i32 %threads)
  br label %skip
skip:
  call void @wengert_barrier(ptr %barrier, i32 %threads)
  ret void
}
"""

Callback = ctypes.CFUNCTYPE(None, ctypes.c_int32)


class Stress:
    """A pool with its plans."""

    def __init__(self, wait: str | None = None, threads: int = 1) -> None:
        self.wanted = np.array([threads], np.int32)
        self.pool = Pool(wait, self.wanted)
        imports = {"wengert_barrier": self.pool.symbols()["wengert_barrier"]}
        self.library = llvm.load([get_object(PLANS, host(), "plans")], ["stress", "relay"], imports)

    def check(self, phases: int = 40, limit: int = pool.ALL_THREADS) -> int:
        """Run the stress plan; the number of threads that it ran on."""
        slots, sums, seen = np.zeros((3, 64, 16), np.int64)
        args = np.array([slots.ctypes.data, sums.ctypes.data, seen.ctypes.data, phases], np.uintp)
        self.pool.run(self.library.address("stress"), args.ctypes.data, limit)
        n = int(seen[0, 0])
        np.testing.assert_array_equal(seen[:, 0], np.where(np.arange(64) < n, n, 0))
        np.testing.assert_array_equal(sums[:n, 0], n * phases * (phases + 1) // 2)
        return n

    def relay(self, callback) -> None:
        """Run the plan that calls back."""
        c = Callback(callback)
        args = np.array([pool._address(c)], np.uintp)
        self.pool.run(self.library.address("relay"), args.ctypes.data)


@pytest.fixture(params=WAYS)
def make(request):
    """Makes pools that wait in one of the ways; closes them."""
    made: list[Stress] = []

    def make(threads: int) -> Stress:
        made.append(Stress(request.param, threads))
        return made[-1]

    yield make
    for stress in made:
        stress.pool.close()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_thread_takes_part_in_every_phase(make, threads):
    stress = make(threads)
    assert [stress.check() for _ in range(20)] == [threads] * 20
    assert stress.pool.workers == threads - 1


def test_long_pauses_let_workers_fall_asleep(make):
    stress = make(3)
    for _ in range(3):
        assert stress.check() == 3
        threading.Event().wait(0.02)


def test_without_spinning_every_wait_goes_through_the_kernel(make, monkeypatch):
    monkeypatch.setattr(pool, "_SPIN", 0)
    monkeypatch.setattr(pool, "_SPIN_CROWDED", 0)
    stress = make(4)
    assert [stress.check(phases=60) for _ in range(10)] == [4] * 10


@pytest.mark.parametrize("there", [1, 2, 3])
def test_sleeping_workers_are_kept_off_the_callers_processor(make, monkeypatch, there):
    """Where there is a processor for each thread, and futexes; else they are left alone."""
    monkeypatch.setattr(pool, "processors", lambda: there)
    stress = make(2)
    apart = stress.pool.wait == "futex" and there > 1 and config.processors() > 1
    if not hasattr(os, "sched_setaffinity"):
        assert not apart
        return
    everywhere = os.sched_getaffinity(0)
    assert stress.check() == 2  # so that there is a worker
    try:
        for here in sorted(everywhere)[:2]:
            os.sched_setaffinity(0, {here})
            threading.Event().wait(0.02)
            assert stress.check() == 2
            (worker,) = stress.pool._threads
            allowed = everywhere - {here} if apart else os.sched_getaffinity(worker.native_id)
            assert os.sched_getaffinity(worker.native_id) == allowed
        os.sched_setaffinity(0, everywhere)
        stress.wanted[0] = 9  # more than there are processors
        assert stress.check() == 9
        assert all(os.sched_getaffinity(t.native_id) == everywhere for t in stress.pool._threads)
    finally:
        os.sched_setaffinity(0, everywhere)


def test_the_number_of_threads_changes_while_idle(make):
    stress = make(2)
    for threads in (2, 5, 3, 1, 4):
        stress.wanted[0] = threads
        assert stress.check() == threads
    assert stress.pool.workers == 3


def test_a_limit(make):
    stress = make(4)
    assert [stress.check(limit=limit) for limit in (2, 1, 3, 9)] == [2, 1, 3, 4]


def test_a_plan_within_a_plan_runs_on_its_caller(make):
    stress = make(3)
    seen: list[int] = []

    def inner(threads: int) -> None:
        seen.extend([threads, stress.check()])

    stress.relay(inner)
    assert seen == [3, 1] and stress.check() == 3


def test_several_python_threads(make):
    """One has the pool, the others run alone: each gets its result."""
    stress = make(3)
    counts: list[int] = []

    def work() -> None:
        counts.extend([stress.check(phases=10) for _ in range(30)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 120 and set(counts) <= {1, 3}
    assert stress.check() == 3


def test_while_one_thread_has_the_pool_another_runs_alone(make):
    stress = make(3)
    inside, leave = threading.Event(), threading.Event()

    def hold(threads: int) -> None:
        inside.set()
        leave.wait()

    thread = threading.Thread(target=stress.relay, args=(hold,))
    thread.start()
    inside.wait()
    assert stress.check() == 1
    assert not stress.pool.stop()  # its workers are not taken from it
    leave.set()
    thread.join()
    assert stress.check() == 3


def test_stopped_workers_come_back(make):
    stress = make(3)
    for _ in range(3):
        assert stress.check() == 3
        assert stress.pool.stop() and stress.pool.workers == 0


def test_a_closed_pool_runs_plans_on_the_caller(make):
    stress = make(3)
    assert stress.check() == 3
    stress.pool.close()
    assert stress.check() == 1 and stress.pool.workers == 0


def test_without_threads_to_be_had(make, monkeypatch):
    stress = make(4)
    start, started = threading.Thread.start, []

    def second_fails(self):
        if self.name.startswith("wengert"):
            started.append(self)
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    assert stress.check() == 2  # the caller, and the one that could be started
    assert stress.check() == 4  # it is tried again


def test_an_interrupt_while_workers_start_comes_afterwards(make, monkeypatch):
    stress = make(3)
    change = stress.pool._change

    def interrupted(need: int) -> None:
        import _thread

        _thread.interrupt_main()
        change(need)

    monkeypatch.setattr(stress.pool, "_change", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that it is ignored

    def check_and_wait() -> None:
        stress.check()
        threading.Event().wait(60)

    try:
        with pytest.raises(KeyboardInterrupt):
            check_and_wait()
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    assert stress.check() == 3


def test_an_interrupt_ends_a_wait_of_the_main_thread():
    def interrupt() -> None:
        time.sleep(0.2)  # the main thread waits by now; were it not so, the test would still hold
        pool._interrupt_main()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(30)
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join()
    assert time.monotonic() - start < 15  # it came, and not at the wait's end


def test_an_abandoned_pool_is_no_trouble(make):
    stress = Stress("portable", 2)
    assert stress.check() == 2
    del stress
    gc.collect()
    assert make(2).check() == 2


# -- processes -------------------------------------------------------------------------------------

HELPER = "import sys; sys.path.insert(0, {folder!r}); from test_pool import *\n"


def python(program: str, **environment: str) -> str:
    """Output of a program that can use this module; it must end well and say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", HELPER.format(folder=os.path.dirname(__file__)) + program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


FORK = """
import os
stress = Stress({wait!r}, 3)
assert stress.check() == 3
for turn in range(3):
    child = os.fork()
    if child == 0:
        ok = stress.pool.workers == 0 and stress.check() == 3 and stress.check() == 3
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if stress.check() == 3 else 1)
        ok = ok and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert stress.check() == 3
print("fine")
"""

FORK_AMID = """
import os
import signal
stress = Stress({wait!r}, 3)
inside, leave = threading.Event(), threading.Event()
def hold(threads):
    inside.set()
    leave.wait()
thread = threading.Thread(target=stress.relay, args=(hold,))
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0 if stress.check() == 3 else 1)
status = os.waitpid(child, 0)[1]
leave.set()
thread.join()
assert status == 0 and stress.check() == 3
print("fine")
"""

EXIT = """
stress = Stress({wait!r}, 3)
assert stress.check() == 3
print("fine")
"""

EXIT_AMID = """
stress = Stress({wait!r}, 3)
inside = threading.Event()
def hold(threads):
    inside.set()
    threading.Event().wait()
threading.Thread(target=stress.relay, args=(hold,), daemon=True).start()
inside.wait()
pool._EXIT_PATIENCE = 0.05
print("fine")
"""


@pytest.mark.parametrize("wait", WAYS)
@pytest.mark.parametrize("program", [EXIT, EXIT_AMID], ids=["idle", "amid a plan"])
def test_the_interpreter_exits(program, wait):
    assert python(program.format(wait=wait)) == "fine\n"


@pytest.mark.parametrize("wait", WAYS if hasattr(os, "fork") else [])
@pytest.mark.parametrize("program", [FORK, FORK_AMID], ids=["idle", "amid a plan"])
def test_a_forked_process_has_its_own_workers(program, wait):
    assert python(program.format(wait=wait)) == "fine\n"


def test_the_environment_chooses_number_and_way():
    program = "print(wg.get_num_threads(), pool.default().wait)"
    assert python(program, WENGERT_NUM_THREADS="5", OMP_NUM_THREADS="2", WENGERT_WAIT="portable") == "5 portable\n"
    assert python(program, WENGERT_NUM_THREADS="", OMP_NUM_THREADS="7,3", WENGERT_WAIT=WAYS[0]) == f"7 {WAYS[0]}\n"


def test_an_unknown_way_to_wait(monkeypatch):
    monkeypatch.setenv("WENGERT_WAIT", "patiently")
    with pytest.raises(ArgumentError, match=r"unknown way to wait: 'patiently'"):
        Pool()


# -- the public setting ----------------------------------------------------------------------------


def test_set_num_threads_is_what_the_shared_pool_uses():
    before = wg.get_num_threads()
    slots, sums, seen = np.zeros((3, 64, 16), np.int64)
    args = np.array([slots.ctypes.data, sums.ctypes.data, seen.ctypes.data, 5], np.uintp)
    imports = {"wengert_barrier": pool.symbols()["wengert_barrier"]}
    library = llvm.load([get_object(PLANS, host(), "plans")], ["stress"], imports)
    try:
        for threads in (2, 4, 1):
            wg.set_num_threads(threads)
            assert wg.get_num_threads() == threads
            pool.run(library.address("stress"), args.ctypes.data)
            assert seen[0, 0] == threads
    finally:
        wg.set_num_threads(before)


def test_processors_of_a_container(tmp_path, monkeypatch):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(config, "_CPU_QUOTA", str(quota))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert config.processors() == 8  # no such file
    for text, expected in (("max 100000\n", 8), ("150000 100000\n", 2), ("10000 100000\n", 1), ("9900000 100000", 8)):
        quota.write_text(text)
        assert config.processors() == expected


class ThreadsHere(wg.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> int:
        return wg.get_num_threads()


def test_a_loaders_workers_use_one_thread_each():
    before = wg.get_num_threads()
    wg.set_num_threads(3)
    try:
        loader = wg.utils.data.DataLoader(ThreadsHere(), num_workers=1, batch_size=None)
        assert list(loader) == [1, 1] and wg.get_num_threads() == 3
    finally:
        wg.set_num_threads(before)


def test_numbers_of_threads_that_make_no_sense():
    for wrong in (0, -1, config.MAX_THREADS + 1):
        with pytest.raises(ArgumentError, match=f"set_num_threads: .*: {wrong}"):
            wg.set_num_threads(wrong)
    for wrong in (2.0, "2", True, None):
        with pytest.raises(DTypeError, match="set_num_threads: expects an int"):
            wg.set_num_threads(wrong)  # type: ignore[arg-type]


def test_it_compiles_for_arm():
    for wait in ("futex", "portable"):
        assert llvm.compile_ir(pool_ir.pool_ir("aarch64", wait), aarch64(), wait)[18] == 183
