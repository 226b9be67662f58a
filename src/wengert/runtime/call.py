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
from . import llvm, pool
from .cache import get_object
from .pool import ALL_THREADS

_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400  # NumPy's flags
_METH_O, _METH_FASTCALL = 0x8, 0x80

# Words of a caller's state, and of what it knows about each argument.
_PLAN, _TABLE, _GIVEN, _TOTAL, _LIMIT, _RUN, _RELEASE, _BUSY, _NDARRAY, _HANDLE, _VALUE_OFFSET, _STOP = range(12)
_HEADER_WORDS = 16
_FIXED, _DTYPE, _NDIM, _FLAGS, _DIMS, _SLOT, _HELD = range(7)
_ENTRY_WORDS = 8


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
    state = _State(_HEADER_WORDS, (keep, runner))
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
    entries = _HEADER_WORDS + _ENTRY_WORDS * len(specs)
    state = _State(entries + ndims, (keep, runner, table, specs, fixed))
    _fill_header(state, address, runner, release_gil, limit, stop)
    words = state.words
    words[_TABLE], words[_GIVEN], words[_TOTAL] = table.ctypes.data, len(given), len(specs)
    dims = entries
    for i, spec in enumerate(specs):
        at = _HEADER_WORDS + _ENTRY_WORDS * i
        words[at + _FIXED] = id(fixed[i - len(given)][0]) if i >= len(given) else 0
        words[at + _DTYPE] = id(spec.dtype)
        words[at + _NDIM] = len(spec.shape)
        words[at + _FLAGS] = _C_CONTIGUOUS | _ALIGNED | (_WRITEABLE if spec.writes else 0)
        words[at + _DIMS] = words.ctypes.data + 8 * dims
        words[at + _SLOT] = spec.slot
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
    words[_STOP] = stop
    words[_PLAN], words[_LIMIT], words[_RELEASE] = address, limit, release_gil
    words[_RUN] = 0 if runner is None else runner.symbols()["wengert_run"]
    words[_NDARRAY], words[_HANDLE] = id(np.ndarray), id(Handle)
    words[_VALUE_OFFSET] = _value_offset() or 0


class _MethodDef(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("code", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_PYTHON = ("PyBool_FromLong", "PyErr_Occurred", "PyEval_RestoreThread", "PyEval_SaveThread", "PyLong_AsVoidPtr")
_PYTHON = (*_PYTHON, "PyType_IsSubtype", "Py_DecRef", "Py_IncRef")


@llvm.once
def _library() -> llvm.Library:
    imports = {name: pool._address(ctypes.pythonapi[name]) for name in _PYTHON} | {"_Py_NoneStruct": id(None)}
    code = get_object(_IR, host(), "call")
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

# Offsets of PyArrayObject's fields, as they have been in all of NumPy 1 and 2.
_DATA_AT, _NDIM_AT, _DIMS_AT, _DTYPE_AT, _FLAGS_AT = 16, 24, 32, 56, 64


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _looks_as_expected(a: np.ndarray) -> bool:
    """Whether an array's struct holds, at the offsets above, what NumPy says it should."""
    at = id(a)
    flags = ctypes.c_int32.from_address(at + _FLAGS_AT).value
    bits = ((_C_CONTIGUOUS, a.flags.c_contiguous), (_ALIGNED, a.flags.aligned), (_WRITEABLE, a.flags.writeable))
    return (
        _word(at + 8) == id(np.ndarray)
        and _word(at + _DATA_AT) == a.ctypes.data
        and ctypes.c_int32.from_address(at + _NDIM_AT).value == a.ndim
        and all(_word(_word(at + _DIMS_AT) + 8 * i) == n for i, n in enumerate(a.shape))
        and _word(at + _DTYPE_AT) == id(a.dtype)
        and all(bool(flags & bit) == there for bit, there in bits)
    )


@functools.cache
def fast() -> bool:
    """Whether callers are builtin methods; otherwise they are slower by a microsecond and more."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    if sys.implementation.name != "cpython" or not gil or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if np.ndarray.__basicsize__ < _FLAGS_AT + 8:
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


_IR = f"""
@_Py_NoneStruct = external global i8
declare ptr @PyBool_FromLong(i64)
declare ptr @PyErr_Occurred()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyEval_SaveThread()
declare ptr @PyLong_AsVoidPtr(ptr)
declare i32 @PyType_IsSubtype(ptr, ptr)
declare void @Py_DecRef(ptr)
declare void @Py_IncRef(ptr)

define internal ptr @word(ptr %state, i64 %i) alwaysinline {{
  %p = getelementptr ptr, ptr %state, i64 %i
  %w = load ptr, ptr %p
  ret ptr %w
}}

; Run the plan, on the pool if the state has one, without the GIL if it says so. Whether it ended by an exception.
define internal i1 @run(ptr %state, ptr %args) {{
entry:
  %release = call ptr @word(ptr %state, i64 {_RELEASE})
  %keeps = icmp eq ptr %release, null
  br i1 %keeps, label %start, label %save
save:
  %saved = call ptr @PyEval_SaveThread()
  br label %start
start:
  %thread = phi ptr [null, %entry], [%saved, %save]
  %plan = call ptr @word(ptr %state, i64 {_PLAN})
  %run = call ptr @word(ptr %state, i64 {_RUN})
  %alone = icmp eq ptr %run, null
  br i1 %alone, label %direct, label %shared
direct:
  call void %plan(ptr %args, i32 0, i32 1, ptr null)
  br label %finish
shared:
  %limit.w = call ptr @word(ptr %state, i64 {_LIMIT})
  %limit.i = ptrtoint ptr %limit.w to i64
  %limit = trunc i64 %limit.i to i32
  call void %run(ptr %plan, ptr %args, i32 %limit)
  br label %finish
finish:
  br i1 %keeps, label %done, label %restore
restore:
  call void @PyEval_RestoreThread(ptr %thread)
  br label %done
done:
  %stop = call ptr @word(ptr %state, i64 {_STOP})
  %never = icmp eq ptr %stop, null
  br i1 %never, label %fine, label %look
look:
  %stopped = load i64, ptr %stop
  %ended = icmp ne i64 %stopped, 0
  store i64 0, ptr %stop
  ret i1 %ended
fine:
  ret i1 false
}}

define ptr @wengert_call_pointer(ptr %self, ptr %pointer) {{
entry:
  %state.p = getelementptr i8, ptr %self, i64 {_DATA_AT}
  %state = load ptr, ptr %state.p
  %args = call ptr @PyLong_AsVoidPtr(ptr %pointer)
  %null = icmp eq ptr %args, null
  br i1 %null, label %check, label %call
check:
  %error = call ptr @PyErr_Occurred()
  %fine = icmp eq ptr %error, null
  br i1 %fine, label %call, label %fail
fail:
  ret ptr null
call:
  %ended = call i1 @run(ptr %state, ptr %args)
  br i1 %ended, label %fail, label %good
good:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}}

; The array that an object is, or that a tensor holds; null if it is not as the spec says.
define internal ptr @array_of(ptr %object, ptr %state, ptr %spec) {{
entry:
  %ndarray = call ptr @word(ptr %state, i64 {_NDARRAY})
  %type = call ptr @word(ptr %object, i64 1)
  %is.array = icmp eq ptr %type, %ndarray
  br i1 %is.array, label %look, label %other
other:
  %handle = call ptr @word(ptr %state, i64 {_HANDLE})
  %sub = call i32 @PyType_IsSubtype(ptr %type, ptr %handle)
  %is.handle = icmp ne i32 %sub, 0
  br i1 %is.handle, label %value, label %no
value:
  %offset = call ptr @word(ptr %state, i64 {_VALUE_OFFSET})
  %offset.i = ptrtoint ptr %offset to i64
  %value.p = getelementptr i8, ptr %object, i64 %offset.i
  %held = load ptr, ptr %value.p
  %unset = icmp eq ptr %held, null
  br i1 %unset, label %no, label %typed
typed:
  %held.type = call ptr @word(ptr %held, i64 1)
  %held.array = icmp eq ptr %held.type, %ndarray
  br i1 %held.array, label %look, label %no
look:
  %array = phi ptr [%object, %entry], [%held, %typed]
  %dtype.p = getelementptr i8, ptr %array, i64 {_DTYPE_AT}
  %dtype = load ptr, ptr %dtype.p
  %dtype.wanted = call ptr @word(ptr %spec, i64 {_DTYPE})
  %same.dtype = icmp eq ptr %dtype, %dtype.wanted
  br i1 %same.dtype, label %rank, label %no
rank:
  %ndim.p = getelementptr i8, ptr %array, i64 {_NDIM_AT}
  %ndim = load i32, ptr %ndim.p
  %ndim.w = call ptr @word(ptr %spec, i64 {_NDIM})
  %ndim.i = ptrtoint ptr %ndim.w to i64
  %ndim.wanted = trunc i64 %ndim.i to i32
  %same.ndim = icmp eq i32 %ndim, %ndim.wanted
  br i1 %same.ndim, label %flag, label %no
flag:
  %flags.p = getelementptr i8, ptr %array, i64 {_FLAGS_AT}
  %flags = load i32, ptr %flags.p
  %mask.w = call ptr @word(ptr %spec, i64 {_FLAGS})
  %mask.i = ptrtoint ptr %mask.w to i64
  %mask = trunc i64 %mask.i to i32
  %set = and i32 %flags, %mask
  %all.set = icmp eq i32 %set, %mask
  br i1 %all.set, label %shape, label %no
shape:
  %dims.p = getelementptr i8, ptr %array, i64 {_DIMS_AT}
  %dims = load ptr, ptr %dims.p
  %dims.wanted = call ptr @word(ptr %spec, i64 {_DIMS})
  br label %head
head:
  %i = phi i64 [0, %shape], [%i1, %body]
  %more = icmp slt i64 %i, %ndim.i
  br i1 %more, label %body, label %yes
body:
  %n = call ptr @word(ptr %dims, i64 %i)
  %n.wanted = call ptr @word(ptr %dims.wanted, i64 %i)
  %i1 = add i64 %i, 1
  %same = icmp eq ptr %n, %n.wanted
  br i1 %same, label %head, label %no
yes:
  ret ptr %array
no:
  ret ptr null
}}

define ptr @wengert_call_arrays(ptr %self, ptr %argv, i64 %n) {{
entry:
  %state.p = getelementptr i8, ptr %self, i64 {_DATA_AT}
  %state = load ptr, ptr %state.p
  %busy = call ptr @word(ptr %state, i64 {_BUSY})
  %free = icmp eq ptr %busy, null
  br i1 %free, label %count, label %none
none:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
count:
  %given.w = call ptr @word(ptr %state, i64 {_GIVEN})
  %given = ptrtoint ptr %given.w to i64
  %total.w = call ptr @word(ptr %state, i64 {_TOTAL})
  %total = ptrtoint ptr %total.w to i64
  %table = call ptr @word(ptr %state, i64 {_TABLE})
  %entries = getelementptr i64, ptr %state, i64 {_HEADER_WORDS}
  %as.many = icmp eq i64 %n, %given
  br i1 %as.many, label %head, label %differs
differs:
  %no = call ptr @PyBool_FromLong(i64 0)
  ret ptr %no
head:
  %i = phi i64 [0, %count], [%i1, %store]
  %more = icmp slt i64 %i, %total
  br i1 %more, label %body, label %ready
body:
  %entry.i = mul i64 %i, {_ENTRY_WORDS}
  %entry.p = getelementptr i64, ptr %entries, i64 %entry.i
  %is.given = icmp slt i64 %i, %given
  br i1 %is.given, label %positional, label %fixed
positional:
  %passed = call ptr @word(ptr %argv, i64 %i)
  br label %check
fixed:
  %kept = call ptr @word(ptr %entry.p, i64 {_FIXED})
  br label %check
check:
  %object = phi ptr [%passed, %positional], [%kept, %fixed]
  %array = call ptr @array_of(ptr %object, ptr %state, ptr %entry.p)
  %bad = icmp eq ptr %array, null
  br i1 %bad, label %differs, label %store
store:
  %held.p = getelementptr i64, ptr %entry.p, i64 {_HELD}
  store ptr %array, ptr %held.p
  %data.p = getelementptr i8, ptr %array, i64 {_DATA_AT}
  %data = load ptr, ptr %data.p
  %slot.w = call ptr @word(ptr %entry.p, i64 {_SLOT})
  %slot = ptrtoint ptr %slot.w to i64
  %cell = getelementptr ptr, ptr %table, i64 %slot
  store ptr %data, ptr %cell
  %i1 = add i64 %i, 1
  br label %head
ready:
  %busy.p = getelementptr i64, ptr %state, i64 {_BUSY}
  store i64 1, ptr %busy.p
  ; While the GIL is free another thread may give a tensor another value: the arrays must live on.
  %release = call ptr @word(ptr %state, i64 {_RELEASE})
  %keeps = icmp eq ptr %release, null
  %holds = select i1 %keeps, i64 0, i64 %total
  call void @hold(ptr %entries, i64 %holds, i1 true)
  %ended = call i1 @run(ptr %state, ptr %table)
  call void @hold(ptr %entries, i64 %holds, i1 false)
  store i64 0, ptr %busy.p
  br i1 %ended, label %fail, label %good
fail:
  ret ptr null
good:
  %yes = call ptr @PyBool_FromLong(i64 1)
  ret ptr %yes
}}

; Take a reference to each array found, or give it back.
define internal void @hold(ptr %entries, i64 %total, i1 %take) {{
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %next]
  %more = icmp slt i64 %i, %total
  br i1 %more, label %body, label %done
body:
  %at = mul i64 %i, {_ENTRY_WORDS}
  %word = add i64 %at, {_HELD}
  %array = call ptr @word(ptr %entries, i64 %word)
  br i1 %take, label %up, label %down
up:
  call void @Py_IncRef(ptr %array)
  br label %next
down:
  call void @Py_DecRef(ptr %array)
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}}
"""
