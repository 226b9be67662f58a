"""Threads for compiled code: workers parked in native code, woken for a whole plan at a time.

A plan is a function ``void plan(void** args, int32 thread, int32 threads, void* barrier)`` that each thread
calls with its own number. Between kernels of which one needs what the other has made it calls
``wengert_barrier(barrier, threads)``. How work is cut does not depend on the number of threads, so results are the
same for any. Whenever the workers cannot be had (one thread is set, a plan is called from within a plan, another
Python thread's plan has them, none can be started) the plan runs on the caller's thread alone.

Workers start with the first plan that needs them. They end before a fork (a child has its own when it needs
them), when the number of threads changes, and when the interpreter exits.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..codegen.target import host
from ..config import MAX_THREADS, NUM_THREADS, processors
from ..errors import ArgumentError, message
from . import llvm, pool_ir
from .cache import get_object

ALL_THREADS = (1 << 31) - 1

# Pauses before a waiting thread leaves the processor: a tenth of a millisecond, which is more than it takes to be
# woken again, and spans the Python between two calls of a small compiled function, or between two kernels of eager
# mode: with a quarter of these its steps take up to 3 % longer on two threads of a Zen 4. With more threads than
# processors the thread waited for may be the one that is kept from running.
_SPIN, _SPIN_CROWDED = 4000, 20
_BUSY_SECONDS = 0.001
_EXIT_PATIENCE = 1.0

_Resize = ctypes.CFUNCTYPE(None, ctypes.c_int32)


def _yield_address() -> int:
    """The C function that lets another thread run."""
    library: Any = ctypes.CDLL("kernel32") if sys.platform == "win32" else ctypes.CDLL(None)
    return _address(library.SwitchToThread if sys.platform == "win32" else library.sched_yield)


def _processor_address() -> int:
    """The C function that tells which processor a thread runs on."""
    return _address(ctypes.CDLL(None).sched_getcpu)


def _address(function: Any) -> int:
    """Where a C function lies."""
    value = ctypes.cast(function, ctypes.c_void_p).value
    assert value is not None
    return value


def _wait_here() -> str:
    """How threads wait on this system, unless ``WENGERT_WAIT`` says it."""
    chosen = os.environ.get("WENGERT_WAIT", "")
    if chosen not in ("", "futex", "portable"):
        raise ArgumentError(message("WENGERT_WAIT", "unknown way to wait", repr(chosen), "futex or portable"))
    there = sys.platform.startswith("linux") and host().architecture in pool_ir.FUTEX_ARCHITECTURES
    return chosen or ("futex" if there else "portable")


class Pool:
    """Workers, and the native code that drives them. Programs share the one that `default` gives.

    ``wait``: ``futex`` (Linux) or ``portable``; None chooses by ``WENGERT_WAIT`` and the system.
    ``wanted``: an int32 array that holds the number of threads.
    """

    def __init__(self, wait: str | None = None, wanted: np.ndarray = NUM_THREADS) -> None:
        self.wait = wait or _wait_here()
        self._wanted = wanted
        self._threads: list[threading.Thread] = []
        self._closed = False
        imports = {"wengert_yield": _yield_address()}
        if self.wait == "futex":
            imports["wengert_processor"] = _processor_address()
        else:
            imports |= {n: _address(ctypes.pythonapi[n]) for n in ("PyThread_acquire_lock", "PyThread_release_lock")}
        name = f"pool.{self.wait}"
        code = get_object(pool_ir.pool_ir(host().architecture, self.wait), host(), name)
        self._library = llvm.load([code], pool_ir.EXPORTS, imports)
        at = self._library.address
        self._base = at("wengert_pool")
        self._native_run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(at("wengert_run"))
        self._try_acquire = ctypes.CFUNCTYPE(ctypes.c_int32)(at("wengert_try_acquire"))
        self._dismiss = ctypes.CFUNCTYPE(None)(at("wengert_dismiss"))
        self._worker = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_int32)(at("wengert_worker"))
        reference: weakref.ref[Pool] = weakref.ref(self)  # not the pool itself, which owns the callback
        self._resize = _Resize(lambda need: _resize(reference, need))
        self._locks: Any = None
        self._numbers = np.zeros(MAX_THREADS, np.int32)  # of the workers, by which the system knows them
        self._set(pool_ir.WANTED, ctypes.c_void_p, wanted.ctypes.data)
        self._set(pool_ir.RESIZE, ctypes.c_void_p, _address(self._resize))
        self._set(pool_ir.SPIN, ctypes.c_int32, _SPIN)
        _pools.add(self)

    # -- what callers need -----------------------------------------------------------------

    def run(self, plan_address: int, args_pointer: int, limit: int = ALL_THREADS) -> None:
        """Run a plan on at most ``limit`` threads; returns when all have finished. The GIL is free meanwhile."""
        self._native_run(plan_address, args_pointer, limit)

    def symbols(self) -> dict[str, int]:
        """What generated code may import: ``void wengert_barrier(ptr barrier, i32 threads)``.

        And ``void wengert_run(ptr plan, ptr args, i32 limit)``, which is `run`.
        """
        return {name: self._library.address(name) for name in ("wengert_barrier", "wengert_run")}

    @property
    def workers(self) -> int:
        """How many threads are parked or at work, besides the callers."""
        return len(self._threads)

    # -- workers ---------------------------------------------------------------------------

    def _get(self, offset: int) -> int:
        return ctypes.c_int32.from_address(self._base + offset).value

    def _set(self, offset: int, kind: Any, value: int) -> None:
        kind.from_address(self._base + offset).value = value

    def _change(self, need: int) -> None:
        """Have ``need`` workers, or as many as can be; the pool is claimed."""
        if need < len(self._threads):
            self._stop_claimed()
        crowded = need + 1 > processors()
        self._set(pool_ir.SPIN, ctypes.c_int32, _SPIN_CROWDED if crowded else _SPIN)
        if self.wait == "portable":
            self._provide_locks(need)
        seen = self._get(pool_ir.GENERATION)
        while len(self._threads) < need and not self._closed:
            index = len(self._threads)
            name = f"wengert-{index + 1}"
            worker = threading.Thread(target=self._work, args=(index, seen), name=name, daemon=True)
            try:
                worker.start()
            except RuntimeError:  # no more threads, or the interpreter is exiting
                break
            self._threads.append(worker)
        self._set(pool_ir.STARTED, ctypes.c_int32, len(self._threads))
        if self.wait == "futex":
            self._part(apart=not crowded)

    def _part(self, apart: bool) -> None:
        """Say whether workers are kept off the caller's processor, and which ones they may use; all, for now."""
        there = os.sched_getaffinity(0)
        numbers = [t.native_id for t in self._threads if t.native_id is not None]
        for number in numbers:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(number, there)
        self._numbers[: len(numbers)] = numbers
        allowed = np.zeros(8 * pool_ir.MASK_BYTES, np.bool_)
        allowed[[i for i in there if i < allowed.size]] = True
        self._mask = np.packbits(allowed, bitorder="little")
        self._set(pool_ir.NUMBERS, ctypes.c_void_p, self._numbers.ctypes.data)
        self._set(pool_ir.ALLOWED, ctypes.c_void_p, self._mask.ctypes.data if apart and len(there) > 1 else 0)
        self._set(pool_ir.AVOIDED, ctypes.c_int32, 0)

    def _work(self, index: int, seen: int) -> None:
        self._worker(index, seen)  # through the pool, which is so kept while its code runs

    def _provide_locks(self, need: int) -> None:
        """A lock a worker, each held. The table has its final size at once: workers may be looking at it."""
        if self._locks is None:
            self._locks = np.zeros((MAX_THREADS, pool_ir.LOCK_BYTES // 8), np.uintp)
            self._set(pool_ir.LOCKS, ctypes.c_void_p, self._locks.ctypes.data)
        allocate, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
        allocate.restype = ctypes.c_void_p
        for i in range(need):
            if not self._locks[i, 0]:
                lock = allocate()
                acquire(ctypes.c_void_p(lock), 1)
                self._locks[i, 0] = lock

    def _stop_claimed(self) -> None:
        """End all workers and join them; the pool is claimed."""
        self._dismiss()
        for thread in self._threads:
            thread.join()
        self._forget_workers()

    def _forget_workers(self) -> None:
        self._threads.clear()
        self._set(pool_ir.STARTED, ctypes.c_int32, 0)
        self._set(pool_ir.STOP, ctypes.c_int32, 0)

    def stop(self, patience: float = 0.0) -> bool:
        """End the workers, unless a plan runs on them for longer than ``patience`` seconds; whether they have ended.

        The next plan starts new ones.
        """
        if not self._threads:
            return True
        deadline = time.monotonic() + patience
        while not self._try_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_BUSY_SECONDS)
        try:
            interrupted = _undisturbed(self._stop_claimed)
        finally:
            self._set(pool_ir.BUSY, ctypes.c_int32, 0)
        if interrupted:
            _interrupt_main()
        return True

    def close(self) -> None:
        """End the workers for good: from now on plans run on the caller's thread."""
        self._closed = True
        self.stop(_EXIT_PATIENCE)

    def _after_fork_in_child(self) -> None:
        """The workers are the parent's, and so is a plan that ran at the moment."""
        self._locks = None
        self._forget_workers()
        words = (pool_ir.BUSY, pool_ir.IDLE, pool_ir.DONE, pool_ir.JOINING)
        for offset in (*words, *range(pool_ir.BARRIER, pool_ir.SIZE, 4)):
            self._set(offset, ctypes.c_int32, 0)


def _resize(reference: weakref.ref[Pool], need: int) -> None:
    """Called from native code, with the pool claimed."""
    pool = reference()
    if pool is None or not _undisturbed(lambda: pool._change(need)):
        return
    # An exception cannot leave through native code: the interrupt is sent again when this call has returned.
    generation = pool._get(pool_ir.GENERATION)

    def send_again() -> None:
        while pool._get(pool_ir.GENERATION) == generation:
            time.sleep(_BUSY_SECONDS)
        _interrupt_main()

    with contextlib.suppress(RuntimeError):
        _thread.start_new_thread(send_again, ())


def _interrupt_main() -> None:
    """Interrupt the main thread, as Ctrl-C does: also where it waits, which `_thread.interrupt_main` does not end."""
    if hasattr(signal, "pthread_kill") and callable(signal.getsignal(signal.SIGINT)):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _undisturbed(work: Callable[[], None]) -> bool:
    """Do something in a thread of its own, and wait for it; whether an interrupt came meanwhile.

    A KeyboardInterrupt comes to the main thread only, so it cannot leave workers half started or half stopped.
    """
    done: list[bool] = []
    finished = _thread.allocate_lock()
    finished.acquire()

    def then_tell() -> None:
        try:
            work()
        finally:
            done.append(True)
            finished.release()

    interrupted = False
    try:
        _thread.start_new_thread(then_tell, ())
    except RuntimeError:  # no more threads, or the interpreter is exiting
        then_tell()
    except BaseException:  # from a signal, after the thread was started
        interrupted = True
    while not done:
        try:
            finished.acquire()
        except BaseException:
            interrupted = True
    return interrupted


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_default_lock = threading.Lock()
_default: list[Pool] = []


def default() -> Pool:
    """The pool that compiled functions share; made when first asked for."""
    if not _default:
        with _default_lock:
            if not _default:
                _default.append(Pool())
    return _default[0]


def run(plan_address: int, args_pointer: int) -> None:
    """Run a plan on `wengert.get_num_threads` threads, of which the caller's is one."""
    default().run(plan_address, args_pointer)


def symbols() -> dict[str, int]:
    """Addresses for `llvm.load`'s ``imports``; see `Pool.symbols`."""
    return default().symbols()


def _before_fork() -> None:
    # A plan that runs in another thread is not waited for: it is no part of the child.
    for pool in list(_pools):
        pool.stop()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool._after_fork_in_child()


@atexit.register
def _close_all() -> None:
    """Before the interpreter takes the code away that workers wait in."""
    for pool in list(_pools):
        pool.close()


if hasattr(os, "register_at_fork"):
    with contextlib.suppress(ValueError):
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
