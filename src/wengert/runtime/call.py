"""Calls from Python into a plan at the least cost.

A ctypes function costs some 200 ns, and reading an array's address another 1000. What is made here is a builtin
method of CPython whose code is compiled like a plan: it takes the arrays themselves, looks into NumPy's struct,
and calls. That is 20 ns and 3 ns an array. Where objects look different (another interpreter, another NumPy)
`fast` is false, and the same is done in Python.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..codegen.target import host
from ..graph.handle import Handle, wrap
from . import call_ir as ir
from . import llvm, pool
from .cache import get_object
from .pool import ALL_THREADS

_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400  # NumPy's flags
_METH_O, _METH_FASTCALL = 0x8, 0x80


class ArraySpec(NamedTuple):
    """What an argument must be: a C-contiguous, aligned array of exactly this shape and dtype.

    ``slot``: which of the plan's pointers it becomes. ``writes``: the plan writes to it.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    slot: int
    writes: bool = False

    def accepts(self, array: Any) -> bool:
        """Whether an array may be passed."""
        return (
            type(array) is np.ndarray
            and array.dtype is self.dtype
            and array.shape == self.shape
            and array.flags.c_contiguous
            and array.flags.aligned
            and (array.flags.writeable or not self.writes)
        )


def make_caller(
    address: int, *, release_gil: bool = True, limit: int = ALL_THREADS, stop: int = 0, keep: Any = None
) -> Callable[[int], None]:
    """A callable that runs the plan at ``address`` with the pointer to its pointers, given as an int.

    ``release_gil``: let other Python threads run meanwhile, which costs 50 ns; a plan that calls back into Python
    needs it. ``limit``: most threads to use; with 1 the pool is not touched. ``keep`` is kept alive. ``stop``: address
    of a word that the plan sets when an exception ends it, which is raised then.
    """
    runner = None if limit == 1 else pool.default()
    if not fast():
        return _SlowPointerCaller(address, runner, limit, stop, keep)
    state = _State(ir.HEADER_WORDS, (keep, runner))
    _fill_header(state, address, runner, release_gil, limit, stop)
    return _builtin("wengert_call_pointer", _METH_O, state)


def make_array_caller(
    address: int,
    given: Sequence[ArraySpec],
    *,
    table: np.ndarray,
    fixed: Sequence[tuple[Any, ArraySpec]] = (),
    release_gil: bool = True,
    limit: int = ALL_THREADS,
    stop: int = 0,
    keep: Any = None,
) -> Callable[..., bool | None]:
    """A callable that takes arrays or tensors, puts their addresses into ``table``, and runs the plan with it.

    ``given`` says what the arguments must be, ``fixed`` which objects are passed without being given (a tensor's
    value is looked up in each call). ``table``: a C-contiguous array of ``np.uintp``, the plan's pointers. The other
    arguments are those of `make_caller`.

    The callable returns True when the plan has run, False when an argument is not as described (nothing has
    run), and None when it is running already, in another thread or further out in this one.
    """
    runner = None if limit == 1 else pool.default()
    specs = [*given, *(spec for _, spec in fixed)]
    if not fast():
        return _SlowArrayCaller(address, runner, limit, tuple(given), tuple(fixed), table, stop, keep)
    ndims = sum(len(spec.shape) for spec in specs)
    entries = ir.HEADER_WORDS + ir.ENTRY_WORDS * len(specs)
    state = _State(entries + ndims, (keep, runner, table, specs, fixed))
    _fill_header(state, address, runner, release_gil, limit, stop)
    words = state.words
    words[ir.TABLE], words[ir.GIVEN], words[ir.TOTAL] = table.ctypes.data, len(given), len(specs)
    dims = entries
    for i, spec in enumerate(specs):
        at = ir.HEADER_WORDS + ir.ENTRY_WORDS * i
        words[at + ir.FIXED] = id(fixed[i - len(given)][0]) if i >= len(given) else 0
        words[at + ir.DTYPE] = id(spec.dtype)
        words[at + ir.NDIM] = len(spec.shape)
        words[at + ir.FLAGS] = _C_CONTIGUOUS | _ALIGNED | (_WRITEABLE if spec.writes else 0)
        words[at + ir.DIMS] = words.ctypes.data + 8 * dims
        words[at + ir.SLOT] = spec.slot
        words[dims : dims + len(spec.shape)] = spec.shape
        dims += len(spec.shape)
    return _builtin("wengert_call_arrays", _METH_FASTCALL, state)


# -- without looking into objects ------------------------------------------------------------------


def _runner(address: int, runner: pool.Pool | None, limit: int, stop: int) -> Callable[[int], None]:
    plan = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p)(address)

    def run(pointer: int) -> None:
        try:
            if runner is not None:
                runner.run(address, pointer, limit)
            else:
                plan(pointer, 0, 1, None)
        except SystemError as error:  # ctypes', about a function that returns with an exception
            if stop:
                ctypes.c_int64.from_address(stop).value = 0
            raise error.__cause__ or error from None

    return run


class _SlowPointerCaller:
    """`make_caller` by ctypes, which always releases the GIL."""

    def __init__(self, address: int, runner: pool.Pool | None, limit: int, stop: int, keep: Any) -> None:
        self._keep = keep
        self._run = _runner(address, runner, limit, stop)

    def __call__(self, pointer: int) -> None:
        self._run(pointer)


class _SlowArrayCaller:
    """`make_array_caller` by ctypes."""

    def __init__(
        self,
        address: int,
        runner: pool.Pool | None,
        limit: int,
        given: tuple[ArraySpec, ...],
        fixed: tuple[tuple[Any, ArraySpec], ...],
        table: np.ndarray,
        stop: int,
        keep: Any,
    ) -> None:
        self._keep = keep
        self._run = _runner(address, runner, limit, stop)
        self._given = given
        self._fixed = fixed
        self._table = table
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> bool | None:
        if len(args) != len(self._given):
            return False
        if not self._lock.acquire(blocking=False):
            return None
        try:
            pairs = [*zip(args, self._given), *self._fixed]
            arrays = [x._value if isinstance(x, Handle) else x for x, _ in pairs]
            if not all(spec.accepts(array) for array, (_, spec) in zip(arrays, pairs)):
                return False
            for array, (_, spec) in zip(arrays, pairs):
                self._table[spec.slot] = array.ctypes.data
            self._run(self._table.ctypes.data)
            return True
        finally:
            self._lock.release()


# -- builtin methods -------------------------------------------------------------------------------


class _State:
    """The words a native caller works with, and ``keep``: the objects that they point to.

    A builtin method is bound to an object, here to an array over the words, since where an array keeps the address
    of its data is known. What must stay alive is given to it as its module: that the garbage collector looks at,
    and so finds callers that are kept by what they keep. Into arrays it does not look.
    """

    def __init__(self, n: int, keep: Any) -> None:
        self.keep = keep
        self.words = np.zeros(n, np.int64)  # not ctypes': each length would be a new class, which waits for the GC


def _fill_header(
    state: _State, address: int, runner: pool.Pool | None, release_gil: bool, limit: int, stop: int
) -> None:
    words = state.words
    words[ir.STOP] = stop
    words[ir.PLAN], words[ir.LIMIT], words[ir.RELEASE] = address, limit, release_gil
    words[ir.RUN] = 0 if runner is None else runner.symbols()["wengert_run"]
    words[ir.NDARRAY], words[ir.HANDLE] = id(np.ndarray), id(Handle)
    words[ir.VALUE_OFFSET] = _value_offset() or 0


class _MethodDef(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("code", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_PYTHON = ("PyBool_FromLong", "PyErr_Occurred", "PyEval_RestoreThread", "PyEval_SaveThread", "PyLong_AsVoidPtr")
_PYTHON = (*_PYTHON, "PyType_IsSubtype", "Py_DecRef", "Py_IncRef")


@llvm.once
def _library() -> llvm.Library:
    imports = {name: pool._address(ctypes.pythonapi[name]) for name in _PYTHON} | {"_Py_NoneStruct": id(None)}
    code = get_object(ir.CALL_IR, host(), "call")
    return llvm.load([code], ["wengert_call_pointer", "wengert_call_arrays"], imports)


@llvm.once
def _method(name: str, flags: int) -> _MethodDef:
    """A method's definition, which the interpreter wants to stay where it is."""
    return _MethodDef(name.encode(), _library().address(name), flags, None)


def _builtin(name: str, flags: int, state: _State) -> Any:
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    return make(ctypes.addressof(_method(name, flags)), state.words, state.keep)


# -- are objects as we think? ----------------------------------------------------------------------


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _looks_as_expected(a: np.ndarray) -> bool:
    """Whether an array's struct holds, at the offsets in `call_ir`, what NumPy says it should."""
    at = id(a)
    flags = ctypes.c_int32.from_address(at + ir.FLAGS_AT).value
    bits = ((_C_CONTIGUOUS, a.flags.c_contiguous), (_ALIGNED, a.flags.aligned), (_WRITEABLE, a.flags.writeable))
    return (
        _word(at + 8) == id(np.ndarray)
        and _word(at + ir.DATA_AT) == a.ctypes.data
        and ctypes.c_int32.from_address(at + ir.NDIM_AT).value == a.ndim
        and all(_word(_word(at + ir.DIMS_AT) + 8 * i) == n for i, n in enumerate(a.shape))
        and _word(at + ir.DTYPE_AT) == id(a.dtype)
        and all(bool(flags & bit) == there for bit, there in bits)
    )


@functools.cache
def fast() -> bool:
    """Whether callers are builtin methods; otherwise they are slower by a microsecond and more."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    if sys.implementation.name != "cpython" or not gil or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if np.ndarray.__basicsize__ < ir.FLAGS_AT + 8:
        return False
    a = np.arange(6.0).reshape(2, 3)
    readonly = np.arange(3)
    readonly.flags.writeable = False
    unaligned = np.zeros(9, np.uint8)[1:].view(np.float64)
    probes = (a, a.T, a[:, 1:], readonly, unaligned, np.zeros(()), np.zeros((0, 4), np.int8))
    return all(_looks_as_expected(x) for x in probes) and _value_offset() is not None


@functools.cache
def _value_offset() -> int | None:
    """Where a tensor keeps its value: found by looking for it."""
    offsets = []
    for _ in range(2):
        value = np.zeros(1)
        tensor = wrap(value)
        words = range(16, type(tensor).__basicsize__, 8)
        offsets.append([offset for offset in words if _word(id(tensor) + offset) == id(value)])
    return offsets[0][0] if offsets[0] == offsets[1] and len(offsets[0]) == 1 else None
