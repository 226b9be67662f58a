"""Whose turn it is among threads: one call of a program at a time, and none while a function is captured.

A capture binds tensors that others refer to, such as parameters, to symbols, and gives them their values back at its
end. A program that ran meanwhile would find no values, and what it writes would be lost, or become part of what is
captured. Calls of different programs run side by side.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


class Turns:
    """The lock of a program's calls."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        with CAPTURES.register:
            CAPTURES.known.add(self)

    def take(self, run: Callable[..., Any], *args: Any) -> Any:
        """``run(*args)``, when no other thread calls the program or captures a function."""
        while True:
            with self.lock:
                owner = CAPTURES.owner
                if owner is None or owner == threading.get_ident():
                    return run(*args)
            with CAPTURES.captures:
                pass


class _Captures:
    """The lock of captures, and the thread that has it."""

    def __init__(self) -> None:
        self.known: weakref.WeakSet[Turns] = weakref.WeakSet()
        self.renew()

    def renew(self) -> None:
        """In a child process there are no other threads: nobody would let go of what they had."""
        self.captures, self.register = threading.RLock(), threading.Lock()
        self.owner: int | None = None
        for turns in list(self.known):
            turns.lock = threading.RLock()


CAPTURES = _Captures()


@contextmanager
def capturing() -> Generator[None]:
    """Wait until calls that other threads began have ended; those that begin now wait for the end of the context."""
    with CAPTURES.captures:
        before, CAPTURES.owner = CAPTURES.owner, threading.get_ident()
        try:
            with CAPTURES.register:
                known = list(CAPTURES.known)
            for turns in known:
                with turns.lock:
                    pass
            yield
        finally:
            CAPTURES.owner = before


if hasattr(os, "register_at_fork"):  # not on every system; the child of a capture would find symbols for parameters
    os.register_at_fork(
        before=lambda: CAPTURES.captures.acquire(),
        after_in_parent=lambda: CAPTURES.captures.release(),
        after_in_child=CAPTURES.renew,
    )
