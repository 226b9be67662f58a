"""Ctrl-C and SIGTERM are remembered, so that a run can save and leave where its state is whole."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, NoReturn


class Interrupts:
    """A context in which the first signal is remembered and the second does what it always does.

    Signals that the program handles by itself are left to it, and so are all outside the main thread.
    """

    def __init__(self) -> None:
        self.caught, self._process = 0, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self.caught, self._process = 0, os.getpid()
        for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) == usual:
                try:
                    self._before[number] = signal.signal(number, self._remember)
                except ValueError:  # not in the main thread
                    return self
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.caught = number
        signal.signal(number, self._before.pop(number))
        if os.getpid() != self._process:  # a forked worker of a loader: the signal is meant for it alone
            os.kill(os.getpid(), number)

    def leave(self, what: str) -> NoReturn:
        """Say what happened and end the program as after that signal, without a traceback."""
        print(f"\ninterrupted by {signal.Signals(self.caught).name}: {what}", file=sys.stderr, flush=True)
        raise SystemExit(128 + self.caught)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
