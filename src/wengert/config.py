"""The state of a thread: grad mode, scope, and how NumPy is called.

``STATE.run(f, *args)`` is how every op calls NumPy in plain eager mode. It runs ``f`` in a
context in which floating-point warnings are off (``log(0)`` is ``-inf``, silently, as in
PyTorch) without touching the user's own ``np.seterr``, for 20 ns. While something must look at
every op (a recording, a trace, anomaly detection) ``run`` is replaced by a function that raises
`Detour`, which sends each op's fast path to its general one at no cost when nobody looks.
"""

from __future__ import annotations

import contextvars
import functools
import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np

from .errors import ArgumentError, DTypeError, message

LOADED = time.time()  # source files that were written later are not what runs here


class Detour(Exception):
    """Raised by ``STATE.run`` when the general path must be taken; never seen by users."""


def _detour(*args: Any, **kwargs: Any) -> Any:
    raise Detour


def _direct(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return f(*args, **kwargs)


class Mode:
    """What an op needs to know besides its inputs."""

    __slots__ = (
        "anomaly", "grad", "inference", "key_source", "quiet", "recorder", "run", "scope", "sweep", "trace", "watchers",
    )  # fmt: skip

    def __init__(self) -> None:
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        self.quiet: Callable[..., Any] = context.run  # calls NumPy with warnings off
        self.sweep: Callable[..., Any] | None = context.copy().run  # the same for a sweep, inside of which ops run
        self.run: Callable[..., Any] = self.quiet  # the same, or a detour while somebody looks
        self.grad: bool = True
        self.inference: bool = False
        self.scope: tuple[str, ...] = ()
        self.recorder: Any = None  # keeps every node and value while set
        self.trace: Any = None  # the trace under way, if any
        self.key_source: Callable[[Any], Any] | None = None  # hands out the keys of random draws outside of traces
        self.anomaly: bool = False
        self.watchers: int = 0  # how many of the above are active


def _of_mode(name: str) -> Any:
    """A property that stands for an attribute of ``mode``."""

    def write(self: State, value: Any) -> None:
        setattr(self.mode, name, value)

    return property(attrgetter(f"mode.{name}"), write)


class State(threading.local):
    """One `Mode` a thread.

    Its attributes are those of ``mode``. Hot paths ask for that once instead, because each look at a thread's own
    attributes takes as long as ten at another object's.
    """

    quiet: Callable[..., Any] = _of_mode("quiet")
    sweep: Callable[..., Any] | None = _of_mode("sweep")
    run: Callable[..., Any] = _of_mode("run")
    grad: bool = _of_mode("grad")
    inference: bool = _of_mode("inference")
    scope: tuple[str, ...] = _of_mode("scope")
    recorder: Any = _of_mode("recorder")
    trace: Any = _of_mode("trace")
    key_source: Callable[[Any], Any] | None = _of_mode("key_source")
    anomaly: bool = _of_mode("anomaly")
    watchers: int = _of_mode("watchers")

    def __init__(self) -> None:
        self.mode = Mode()


STATE = State()


class Changes:
    """A number that moves whenever something changes that programs rest on: see `wengert.guards`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.count = 0

    def __call__(self) -> None:
        """Something has changed."""
        self.count = next(self._numbers)


CHANGES = Changes()


@contextmanager
def watching() -> Generator[None]:
    """Send every op down its general path inside the context."""
    STATE.watchers += 1
    previous, STATE.run = STATE.run, _detour
    try:
        yield
    finally:
        STATE.watchers -= 1
        STATE.run = previous


@contextmanager
def uncollected() -> Generator[None]:
    """Leave cyclic garbage where it is meanwhile.

    Tracing and compiling make many objects that stay, and the collector would look at them again and again: a third of
    the Python time of compiling a ResNet-34 step.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def quietly(f: Callable[..., Any], *args: Any) -> Any:
    """Run a whole sweep with floating-point warnings off."""
    mode = STATE.mode
    run = mode.sweep
    if run is None:  # inside of another sweep
        return f(*args)
    mode.sweep = None
    try:
        return run(f, *args)
    finally:
        mode.sweep = run


@contextmanager
def reentered() -> Generator[None]:
    """For ops whose NumPy function runs users' code: ops inside must not enter the quiet context again."""
    quiet, run = STATE.quiet, STATE.run
    STATE.quiet = _direct
    if run == quiet:
        STATE.run = _direct
    try:
        yield
    finally:
        STATE.quiet, STATE.run = quiet, run


class _GradMode:
    """Context manager and decorator that sets the grad mode of this thread."""

    __slots__ = ("mode", "previous")

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self.previous: list[bool] = []

    def __enter__(self) -> None:
        self.previous.append(STATE.grad)
        STATE.grad = self.mode

    def __exit__(self, *exc: object) -> None:
        STATE.grad = self.previous.pop()

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        mode = self.mode
        if getattr(f, "__code__", None) is not None and f.__code__.co_flags & _GENERATOR:
            return functools.wraps(f)(lambda *args, **kwargs: _steps(f(*args, **kwargs), mode))

        @functools.wraps(f)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with _GradMode(mode):
                return f(*args, **kwargs)

        return wrapper


_GENERATOR = 0x20  # inspect.CO_GENERATOR, without importing inspect


def _steps(generator: Generator[Any, Any, Any], mode: bool) -> Generator[Any, Any, Any]:
    """Run each step of a generator, and nothing between the steps, in a grad mode."""
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        try:
            with _GradMode(mode):
                item = step()
        except StopIteration as stop:
            return stop.value
        try:
            step = functools.partial(generator.send, (yield item))
        except GeneratorExit:
            with _GradMode(mode):
                generator.close()
            raise
        except BaseException as error:
            step = functools.partial(generator.throw, error)


class no_grad(_GradMode):
    """Switch recording for gradients off, as a context or a decorator.

    >>> import wengert as wg
    >>> x = wg.ones(2, requires_grad=True)
    >>> with wg.no_grad():
    ...     print((x * 2).requires_grad)
    False
    """

    __slots__ = ()

    def __new__(cls, f: Callable[..., Any] | None = None) -> Any:
        """A context manager, or the decorated function."""
        self = object.__new__(cls)
        if f is None:
            return self
        self.__init__()
        return self(f)

    def __init__(self, f: Callable[..., Any] | None = None) -> None:
        super().__init__(False)


class enable_grad(no_grad):
    """Switch recording for gradients on, inside a `no_grad` too."""

    __slots__ = ()

    def __init__(self, f: Callable[..., Any] | None = None) -> None:
        _GradMode.__init__(self, True)


class inference_mode(no_grad):
    """`no_grad` for inference; ``inference_mode(False)`` does nothing.

    Tensors made inside are ordinary tensors: nothing forbids using them in a graph later.
    """

    __slots__ = ()

    def __new__(cls, mode: Any = True) -> Any:
        """A context manager, or the decorated function."""
        self = object.__new__(cls)
        if not callable(mode):
            return self
        self.__init__()
        return self(mode)

    def __init__(self, mode: Any = True) -> None:
        _GradMode.__init__(self, False if mode else STATE.grad)


class set_grad_enabled(_GradMode):
    """Set the grad mode at once; also a context that restores the old one."""

    __slots__ = ()

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self.previous.append(STATE.grad)
        STATE.grad = bool(mode)

    def __enter__(self) -> None:
        STATE.grad = self.mode


def is_grad_enabled() -> bool:
    """Whether ops on tensors that require grad are recorded in this thread."""
    return STATE.grad


def is_inference_mode_enabled() -> bool:
    """Always False: inference mode is the same as `no_grad` here."""
    return False


def processors() -> int:
    """How many processors this process may use: by its affinity, and by its container's quota (cgroup v2)."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    n = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        with open(_CPU_QUOTA, encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1, min(n, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return n


def _threads_at_start() -> int:
    """What the environment says (the first of OpenMP's list), or the processors this process may use."""
    for name in ("WENGERT_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").partition(",")[0].strip()
        if text.isdecimal() and 0 < int(text) <= MAX_THREADS:
            return int(text)
    return processors()


_CPU_QUOTA = "/sys/fs/cgroup/cpu.max"
MAX_THREADS = 4096  # more than any machine has; a number above is a mistake

# In an array, because compiled code reads it where it lies.
NUM_THREADS = np.array([_threads_at_start()], np.int32)


def set_num_threads(n: int) -> None:
    """How many threads compiled code uses from its next call on. Results are bitwise the same for any number.

    At the start it is ``WENGERT_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number of processors that this
    process may use. NumPy's own threads are not concerned.

    Raises `wengert.errors.DTypeError` if ``n`` is no int, `wengert.errors.ArgumentError` if it is not positive.

    >>> import wengert as wg
    >>> before = wg.get_num_threads()
    >>> wg.set_num_threads(3)
    >>> wg.get_num_threads()
    3
    >>> wg.set_num_threads(before)
    """
    if not isinstance(n, int) or isinstance(n, bool):
        raise DTypeError(message("set_num_threads", "expects an int", type(n).__name__))
    if not 0 < n <= MAX_THREADS:
        raise ArgumentError(message("set_num_threads", f"expects a number from 1 to {MAX_THREADS}", str(n)))
    NUM_THREADS[0] = n


def get_num_threads() -> int:
    """How many threads compiled code uses; see `set_num_threads`."""
    return int(NUM_THREADS[0])
