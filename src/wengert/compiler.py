"""``wg.compile``: a function, up to a whole training step, as one native program.

The function runs once on symbols (`capturing`), which gives a closed graph with all state as hidden inputs and
outputs; `runtime.program` finds the program that was made of such a graph before, or has it made. One is kept for each
structure of arguments, shapes, dtypes and modes.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import sys
import threading
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import tree
from .capturing import Captured, capture
from .config import STATE, uncollected
from .differentiable import DifferentiableStep, carries_gradient
from .errors import ArgumentError, message
from .graph.handle import wrap
from .signature import difference, signature
from .stepping import MISSED, EagerStep, Step
from .tensor import Tensor


class RecompileWarning(UserWarning):
    """A compiled function was traced again, or a call of it runs in eager mode."""


KEPT = 16  # programs for arguments of one kind that are kept, the latest ones
MOST = 256  # kinds of arguments for which programs are kept


class Compiled:
    """A function that runs as compiled programs; see `compile`."""

    def __init__(self, f: Callable[..., Any], check: bool = False, memory_budget: int | None = None) -> None:
        if inspect.isgeneratorfunction(f) or inspect.iscoroutinefunction(f):
            raise ArgumentError(
                message("compile", "cannot compile a generator or a coroutine", getattr(f, "__name__", str(f)),
                        "Compile the function that makes one step")
            )  # fmt: skip
        functools.update_wrapper(self, f, updated=())
        self.function = f
        self.check = check
        self.memory_budget = memory_budget
        self.steps: collections.OrderedDict[Any, list[Any]] = collections.OrderedDict()  # the latest ones last
        self.lock = threading.Lock()  # of `steps`, which several threads may change
        self.latest: Any = None
        self.plain: Any = None  # the latest step, its number of arguments and grad mode, if all of them are tensors
        self.warned: set[str] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result, by the program that fits the arguments."""
        plain = self.plain  # once: another thread may take it away
        if plain is not None and not kwargs:
            out = self._again(plain, args)
            if out is not MISSED:
                return out
        leaves, structure = tree.flatten((args, kwargs))
        if any(isinstance(x, np.ndarray) for x in leaves):  # as tensors over their memory, whoever runs the function
            leaves = [wrap(x) if isinstance(x, np.ndarray) else x for x in leaves]
            args, kwargs = tree.unflatten(structure, leaves)
        if STATE.watchers:  # part of another trace, or of a recording: in line
            return self.function(*args, **kwargs)
        key, arrays = signature(leaves, structure)
        reason = ""
        for step in self.steps.get(key, ()):
            reason = step.captured.guards.broken()
            if not reason:
                with self.lock, contextlib.suppress(KeyError):  # another thread may have let go of it
                    self.steps.move_to_end(key)
                return self._run(step, args, kwargs, arrays)
        if reason or self.steps:
            with self.lock:
                others = list(self.steps)
            self._warn("is compiled again", reason or difference(key, others))
        from .runtime.results import release

        with uncollected():
            captured = capture(self.function, args, kwargs)
            if captured.once:
                return self.function(*args, **kwargs)
            step = self._made(captured)
        release()  # what work before this left, such as drawing weights, and compiling
        with self.lock:
            self.steps[key] = [*self.steps.pop(key, ()), step][-KEPT:]
            if len(self.steps) > MOST:
                self.steps.popitem(last=False)
        return self._run(step, args, kwargs, arrays)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        """A method of an object: a compiled function of its own, kept with the object, so that it goes with it."""
        if owner is None:
            return self
        method = types.MethodType(self.function, owner)
        name, own = getattr(self, "__name__", ""), getattr(owner, "__dict__", None)
        if own is None or inspect.getattr_static(type(owner), name, None) is not self:
            return types.MethodType(self, owner)
        bound = own[name] = Compiled(method, self.check, self.memory_budget)
        return bound

    def __reduce__(self) -> Any:
        """Stored and copied without its programs: by its name, as a method of a copy, or with its function."""
        f, name = self.function, getattr(self, "__name__", "")
        owner = getattr(f, "__self__", None)
        if getattr(owner, "__dict__", {}).get(name) is self:
            return getattr, (owner, name)
        place: Any = sys.modules.get(getattr(f, "__module__", None) or "")
        for part in f.__qualname__.split(".") if hasattr(f, "__qualname__") else ():
            place = getattr(place, part, None)
        return f.__qualname__ if place is self else (Compiled, (f, self.check, self.memory_budget))

    def _made(self, captured: Captured) -> Any:
        if captured.eager:
            return EagerStep(captured)
        if not (STATE.grad and carries_gradient(captured)):
            return Step(captured, self.memory_budget)
        if self.memory_budget is not None:
            raise ArgumentError(
                message("compile", "a memory budget is for functions that keep nothing for a later backward()",
                        "a result carries gradients",
                        "Compile the whole training step, or call it under wg.no_grad()")
            )  # fmt: skip
        return DifferentiableStep(captured)

    @staticmethod
    def _again(plain: Any, args: tuple[Any, ...]) -> Any:
        """The latest program once more, if it fits: native code looks at shapes and dtypes."""
        step, count, grad = plain
        if len(args) != count or STATE.grad is not grad or STATE.watchers:
            return MISSED
        for x in args:
            if type(x) is not Tensor or x._node is not None:
                return MISSED
        if step.captured.guards.broken() or (step.writes and step.mixes(args)):
            return MISSED
        return step.attempt(args)

    def _run(self, step: Any, args: Any, kwargs: Any, arrays: Sequence[Any]) -> Any:
        self.latest = step
        simple = type(step) is Step and not kwargs and not self.check
        simple = simple and all(type(x) is Tensor and x._node is None for x in args)
        self.plain = (step, len(args), STATE.grad) if simple else None
        inner = getattr(step, "forward", step)
        if inner.writes and (why := inner.mixes(arrays)):
            self._warn("runs in eager mode", why)
            return self.function(*args, **kwargs)
        if self.check:
            from .checking import checked_call

            return checked_call(self.function, step, args, kwargs, arrays)
        return step(arrays)

    def _warn(self, what: str, reason: str) -> None:
        subject = reason.partition(" is ")[0]  # a number that changes in every call is one reason
        if reason and subject not in self.warned:
            self.warned.add(subject)
            name = getattr(self, "__name__", type(self.function).__name__)
            warnings.warn(message("compile", f"{name} {what}", reason), RecompileWarning, stacklevel=4)


def compile(f: Callable[..., Any] | None = None, *, check: bool = False, memory_budget: int | None = None) -> Any:
    """Compile a function of tensors, up to a whole training step, to native code.

    The function is traced once for each structure of arguments, shapes, dtypes and modes; a call then runs native code.
    Tensors that it reads or changes without getting them as arguments (parameters, running statistics, an optimizer's
    state, gradients, random generators) keep up with it. Learning rates and the like may change between calls. Python
    code with other effects runs while tracing only. Numbers and strings among the arguments are part of what is
    compiled, and so is what the function finds around it by name: variables, the functions of the user's that it calls
    and their variables, attributes, elements of lists and dictionaries (up to a thousand), NumPy arrays (their elements
    up to 256 KiB). When these change, or layers, hooks, parameter groups or what requires grad, it is compiled again
    (once for each state it comes back to). A result that would be a view of another one, or of an argument, is a copy.
    Control flow on values needs `wengert.cond`, `while_loop` or `scan`. A method may be compiled where it is defined.
    Threads may call at once; they wait while one of them captures a function.

    Args:
        f: the function, or a module, of which a module is made (`wengert.nn.optimized`); without it, a decorator
            is returned.
        check: run each call in eager mode too, compare, and name the first op that differs.
        memory_budget: bytes that a call may need besides its arguments and the tensors that exist already (the
            ``peak`` of `plan`): values that wait long for their readers are computed again until it fits.

    Raises:
        ArgumentError: a generator or a coroutine; at the first call, if the memory budget is too small.
        TraceError: the function looks at a value.
        IndexRangeError: in a call, for an index out of range; nothing has changed then.
        ArgumentError: in a call, for an integer division by zero, where the divisor follows from the inputs by
            elementwise ops and movements; nothing has changed then.

    >>> import wengert as wg
    >>> @wg.compile
    ... def f(x):
    ...     return (x * 2 + 1).tanh().sum()
    >>> f(wg.zeros(3))
    tensor(2.2848)
    """
    if f is None:
        return functools.partial(compile, check=check, memory_budget=memory_budget)
    made = Compiled(f, check, memory_budget)
    if not hasattr(f, "_modules"):
        return made
    from .nn.optimized import OptimizedModule

    return OptimizedModule(f, made)  # pyright: ignore[reportArgumentType]
