"""Processes that compile beside this one, so that a first call takes as many processors as there are.

A kernel is handed over as soon as its text exists, while Python still writes the next ones; what no helper has
begun when its object is needed is compiled here. Helpers know LLVM alone (`pipeline`), are started when there is much
to compile, and end when they are idle or their parent is gone. Where none can be started, and for what a helper could
not do, everything is compiled here: the objects are the same.

Environment: ``WENGERT_HELPERS`` is how many there are; it is one less than the processors that this process may use,
and seven at most.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ..codegen.target import Target
from ..config import processors
from ..errors import ArgumentError, message
from . import pipeline

MOST = 7
_FAILURES = (OSError, EOFError, pickle.UnpicklingError)


def wanted() -> int:
    """How many helpers there should be."""
    text = os.environ.get("WENGERT_HELPERS", "")
    if text:
        if not text.isdecimal():
            raise ArgumentError(message("WENGERT_HELPERS", "must be a whole number", repr(text)))
        return int(text)
    # An application that Python is built into would be started anew, rather than Python.
    python = not getattr(sys, "frozen", False) and Path(sys.executable or "").name.lower().startswith("python")
    return min(processors() - 1, MOST) if python else 0


class Helper:
    """A process that compiles, started when it is needed; of one thread at a time."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.useless = False  # it could not be started, and will not be tried again

    def start(self) -> None:
        """Have a process that is ready: until then it gets no work, which this process may do sooner."""
        if self.useless or (self.process is not None and self.process.poll() is None):
            return
        import llvmlite

        self.end()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", pipeline.__file__, str(Path(llvmlite.__file__).parents[1])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the program, not for its helpers
            )  # fmt: skip
            self._answer()
        except _FAILURES:
            self.useless = True
            self.end()

    def compile(self, ir_text: str, target: Target) -> bytes | None:
        """Object code, or None if it could not be done."""
        self.start()
        if self.process is None or self.process.stdin is None:
            return None
        try:
            pickle.dump((ir_text, target.triple, target.cpu, target.features), self.process.stdin)
            self.process.stdin.flush()
            return self._answer()
        except _FAILURES:
            self.end()
            return None

    def _answer(self) -> Any:
        assert self.process is not None and self.process.stdout is not None
        return pickle.load(self.process.stdout)

    def end(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError), process:  # closes the pipes, and waits
                pass


class Crew:
    """Helpers, each with a thread that talks to it. A program that ends does not wait for them."""

    def __init__(self, count: int) -> None:
        self.helpers = [Helper() for _ in range(count)]
        self.tasks: queue.SimpleQueue[tuple[Future[bytes | None], str, Target]] = queue.SimpleQueue()
        self.owner, self.ended = os.getpid(), False
        for helper in self.helpers:
            threading.Thread(target=self._serve, args=(helper,), name="wengert-compile", daemon=True).start()
        atexit.register(self._end)

    def submit(self, ir_text: str, target: Target) -> Future[bytes | None]:
        """Have a module compiled."""
        future: Future[bytes | None] = Future()
        self.tasks.put((future, ir_text, target))
        return future

    def _serve(self, helper: Helper) -> None:
        helper.start()
        while not self.ended:
            future, ir_text, target = self.tasks.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(None if self.ended else helper.compile(ir_text, target))
                except Exception as error:  # whoever waits must hear of it
                    future.set_exception(error)

    def _end(self) -> None:
        self.ended = True
        if os.getpid() == self.owner:  # a forked process has them by name only
            for helper in self.helpers:
                helper.end()


_crews: dict[tuple[int, int], Crew] = {}  # by process: a forked one gets its own; and by number of helpers


def start() -> None:
    """Have helpers ready for work that comes soon; until then, `begin` does nothing."""
    key = os.getpid(), wanted()
    if key[1] and key not in _crews:
        _crews[key] = Crew(key[1])


def begin(ir_text: str, target: Target) -> Future[bytes | None] | None:
    """Have a helper compile a module; None if there are no helpers."""
    crew = _crews.get((os.getpid(), wanted()))
    return None if crew is None else crew.submit(ir_text, target)
