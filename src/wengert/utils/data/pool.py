"""The worker processes of a `DataLoader`, as their parent sees them.

Each worker has two pipes of its own and shares no lock with anybody, so one that is killed cannot
block the others; its end is seen at once by its sentinel.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import secrets
import signal
import sys
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterable
from itertools import count
from multiprocessing import connection
from typing import Any

from ...errors import ArgumentError, WengertError, message
from .transport import discard, unpack
from .worker import BATCH, ERROR, Setup, Task, run

GRACE = 5.0  # seconds that workers have to finish the sample they are at


class _Members:
    """Processes, pipes and promised segments; apart from the pool, so that its finalizer can hold them."""

    def __init__(self, workers: int) -> None:
        self.grace = GRACE
        self.processes: list[Any] = []
        self.tasks: list[Any] = []
        self.results: list[Any] = []
        self.promised: list[deque[str]] = [deque() for _ in range(workers)]


class Pool:
    """Starts workers, hands them tasks and receives their batches."""

    def __init__(self, setup: Setup, context: Any, base: int) -> None:
        chosen = _context(context)
        self.members = members = _Members(setup.num_workers)
        self._close = weakref.finalize(self, _shut_down, members, os.getpid())
        self._name, self._serial = f"wg{os.getpid():x}_{secrets.token_hex(4)}", count()
        self.user: object = None  # token of the epoch that the workers are at
        _start_tracker()
        try:
            for worker in range(setup.num_workers):
                self._start(setup, chosen, worker, base)
        except BaseException:
            self.close()
            raise

    def _start(self, setup: Setup, context: Any, worker: int, base: int) -> None:
        members = self.members
        their_tasks, our_tasks = context.Pipe(duplex=False)
        our_results, their_results = context.Pipe(duplex=False)
        members.tasks.append(our_tasks)
        members.results.append(our_results)
        forks = context.get_start_method() == "fork"
        others = [*members.tasks, *members.results] if forks else []
        arguments = (setup, worker, base, their_tasks, their_results, os.getpid(), others)
        process = context.Process(target=run, args=arguments, daemon=True, name=f"DataLoader worker {worker}")
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of forks beside threads; NumPy's have been made safe for them.
                warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
                process.start()
        finally:
            their_tasks.close()
            their_results.close()
        members.processes.append(process)

    @property
    def closed(self) -> bool:
        """Whether the workers are gone."""
        return not self._close.alive

    def close(self, grace: float = GRACE) -> None:
        """End the workers and free what they had promised; a second call does nothing."""
        self.members.grace = grace
        self._close()

    def outstanding(self, worker: int) -> int:
        """Tasks that a worker has not answered yet."""
        return len(self.members.promised[worker])

    def send(self, worker: int, base: int, place: int, indices: Any = None, skip: bool = False) -> None:
        """Give a worker a task."""
        segment = f"{self._name}_{next(self._serial)}"
        self.members.promised[worker].append(segment)
        try:
            self.members.tasks[worker].send(Task(base, place, indices, segment, skip))
        except (BrokenPipeError, ConnectionResetError):
            raise self._dead() from None

    def receive(self, workers: Iterable[int], timeout: float) -> tuple[int, int, Any]:
        """The next answer of one of some workers: which, what kind, and the batch if it is one."""
        worker, data = self._raw(workers, timeout)
        self.members.promised[worker].popleft()
        if data[0] == ERROR:
            raise _their_error(data[1:])
        return worker, data[0], unpack(data[1:]) if data[0] == BATCH else None

    def drain(self, timeout: float) -> None:
        """Throw away the answers that an iteration left behind."""
        for worker, promised in enumerate(self.members.promised):
            while promised:
                self._raw((worker,), timeout)
                discard(promised.popleft())

    def _raw(self, workers: Iterable[int], timeout: float) -> tuple[int, bytes]:
        members = self.members
        pipes = {members.results[worker]: worker for worker in workers}
        sentinels = [process.sentinel for process in members.processes]
        ready = connection.wait([*pipes, *sentinels], timeout or None)
        if not ready:
            seen = f"no batch within {timeout} seconds"
            cure = "Raise timeout=, or find out what a sample waits for"
            raise WengertError(message("DataLoader", "timed out", seen, cure))
        for pipe in ready:
            worker = pipes.get(pipe)  # type: ignore[call-overload]
            if worker is not None:
                try:
                    return worker, members.results[worker].recv_bytes()
                except (EOFError, OSError):
                    break
        raise self._dead()

    def _dead(self) -> WengertError:
        """What to say of workers that have ended by themselves."""
        by_sentinel = {process.sentinel: process for process in self.members.processes}
        ended = [by_sentinel[sentinel] for sentinel in connection.wait(by_sentinel, 1.0)]  # type: ignore[index]
        for process in ended:
            process.join(1.0)  # its exit code comes a moment after its sentinel
        how = ", ".join(f"pid {process.pid} {_manner(process.exitcode)}" for process in ended)
        return WengertError(
            message(
                "DataLoader",
                f"DataLoader worker (pid(s) {', '.join(str(process.pid) for process in ended)}) exited unexpectedly",
                how,
                "Was there enough memory? num_workers=0 shows errors of the data set itself",
            )
        )


def _manner(code: int | None) -> str:
    if code is None:
        return "closed its pipes"
    if code >= 0:
        return f"left with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _context(context: Any) -> Any:
    """The way to start processes: as asked; by default fork on Linux, elsewhere the platform's own."""
    if context is None:
        return multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    if not isinstance(context, str):
        return context
    if context not in multiprocessing.get_all_start_methods():
        raise ArgumentError(
            message(
                "DataLoader",
                "multiprocessing_context is not a way to start processes here",
                repr(context),
                f"Use one of {', '.join(multiprocessing.get_all_start_methods())}",
            )
        )
    return multiprocessing.get_context(context)


def _start_tracker() -> None:
    """One tracker of shared memory for all: workers must find it running, or each starts its own."""
    if os.name == "posix":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()


def _their_error(body: bytes) -> Exception:
    """A worker's error: of the same class, with the worker's traceback as its message."""
    kind, text = pickle.loads(body)
    if kind is None or issubclass(kind, StopIteration | StopAsyncIteration):
        return WengertError(text)
    if issubclass(kind, KeyError):  # prints its message as a literal, on one line
        kind = _key_error()
    try:
        return kind(text)
    except Exception:  # a class of the user's, whose constructor may want anything
        return WengertError(text)


def _key_error() -> type[Exception]:
    class KeyErrorOfWorker(KeyError):
        """A KeyError that prints its message as it is."""

        def __str__(self) -> str:
            return str(self.args[0])

    KeyErrorOfWorker.__name__ = KeyErrorOfWorker.__qualname__ = "KeyError"
    return KeyErrorOfWorker


def _shut_down(members: _Members, owner: int) -> None:
    """Ask the workers to leave, make them if they do not, and remove segments nobody has read."""
    if os.getpid() != owner:  # a copy in a forked process: not its workers
        return
    for pipe in (*members.tasks, *members.results):
        pipe.close()
    _end(members.processes, members.grace)
    for promised in members.promised:
        for segment in promised:
            discard(segment)
        promised.clear()


def _end(processes: list[Any], grace: float) -> None:
    until = time.monotonic() + grace
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    for end in ("terminate", "kill"):
        for process in processes:
            if process.is_alive():
                getattr(process, end)()
                process.join(1.0)
    for process in processes:
        if not process.is_alive():
            process.close()
