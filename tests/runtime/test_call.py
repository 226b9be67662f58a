"""Callers: builtin methods that look into arrays, and the same in Python, which must agree."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.codegen.target import aarch64, host
from wengert.runtime import call, call_ir, llvm, pool
from wengert.runtime.cache import get_object
from wengert.runtime.call import ArraySpec, make_array_caller, make_caller

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)

# `add`: args are x, y, out, of 4 numbers each; out = x + 10 y.
# `relay`: args[0] is an array that holds the address of a function, which is called.
PLANS = """
define void @add(ptr %args, i32 %thread, i32 %threads, ptr %barrier) {
  %first = icmp eq i32 %thread, 0
  br i1 %first, label %work, label %done
work:
  %x = load ptr, ptr %args
  %yp = getelementptr ptr, ptr %args, i64 1
  %y = load ptr, ptr %yp
  %op = getelementptr ptr, ptr %args, i64 2
  %o = load ptr, ptr %op
  %a = load <4 x float>, ptr %x, align 4
  %b = load <4 x float>, ptr %y, align 4
  %c = fmul <4 x float> %b, splat (float 10.0)
  %d = fadd <4 x float> %a, %c
  store <4 x float> %d, ptr %o, align 4
  br label %done
done:
  ret void
}
define void @relay(ptr %args, i32 %thread, i32 %threads, ptr %barrier) {
  %first = icmp eq i32 %thread, 0
  br i1 %first, label %work, label %done
work:
  %cell = load ptr, ptr %args
  %f = load ptr, ptr %cell
  call void %f(i32 %threads)
  br label %done
done:
  ret void
}
"""


@pytest.fixture(scope="module")
def plans():
    return llvm.load([get_object(PLANS, host(), "plans")], ["add", "relay"])


@pytest.fixture(params=["builtin", "python"])
def way(request, monkeypatch):
    """Both implementations; the second as on an interpreter whose objects look different."""
    assert call.fast()  # this one's do not
    if request.param == "python":
        monkeypatch.setattr(call, "fast", lambda: False)
    return request.param


@pytest.fixture(params=[1, 3], ids=["alone", "on the pool"])
def limit(request):
    before = wg.get_num_threads()
    wg.set_num_threads(3)
    yield request.param
    wg.set_num_threads(before)


SPECS = [ArraySpec(F4, (2, 2), 0), ArraySpec(F4, (4,), 1), ArraySpec(F4, (2, 2), 2, writes=True)]


def x22() -> np.ndarray:
    return np.arange(4, dtype=np.float32).reshape(2, 2)


def y4() -> np.ndarray:
    return np.array([1, 2, 3, 4], np.float32)


CELL = ArraySpec(np.dtype(np.uintp), (1,), 0)


def function_cell(f: Callable[[int], None]) -> tuple[np.ndarray, object]:
    """An array that holds the address of a function, and what keeps it alive."""
    c = ctypes.CFUNCTYPE(None, ctypes.c_int32)(f)
    return np.array([pool._address(c)], np.uintp), c


EXPECTED = np.array([[10, 21], [32, 43]], np.float32)


@pytest.mark.parametrize("release_gil", [False, True])
def test_arrays_and_tensors(plans, way, limit, release_gil):
    table = np.zeros(3, np.uintp)
    caller = make_array_caller(plans.address("add"), SPECS, table=table, release_gil=release_gil, limit=limit)
    for wrap in (lambda a: a, wg.from_numpy, lambda a: nn.Parameter(wg.from_numpy(a))):
        out = np.zeros((2, 2), np.float32)
        assert caller(wrap(x22()), wrap(y4()), out) is True
        np.testing.assert_array_equal(out, EXPECTED)


def test_fixed_objects_are_looked_up_at_each_call(plans, way):
    table = np.zeros(3, np.uintp)
    parameter = nn.Parameter(wg.from_numpy(y4()))
    out = np.zeros((2, 2), np.float32)
    fixed = [(parameter, SPECS[1]), (out, SPECS[2])]
    caller = make_array_caller(plans.address("add"), SPECS[:1], table=table, fixed=fixed, limit=1)
    assert caller(x22()) is True
    np.testing.assert_array_equal(out, EXPECTED)
    parameter.data = wg.zeros(4)
    assert caller(x22()) is True
    np.testing.assert_array_equal(out, x22())
    parameter.data = wg.zeros(5)
    assert caller(x22()) is False
    np.testing.assert_array_equal(out, x22())


def readonly(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


def unaligned() -> np.ndarray:
    return np.zeros(17, np.uint8)[1:].view(np.float32).reshape(2, 2)


def out22() -> np.ndarray:
    return np.full((2, 2), 7, np.float32)


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("x", "out"),
    [
        (x22().astype(np.float64), out22()),
        (x22().astype(">f4"), out22()),
        (x22().reshape(4), out22()),
        (x22().reshape(1, 2, 2), out22()),
        (np.zeros((2, 3), np.float32), out22()),
        (x22().T, out22()),
        (np.zeros((4, 2), np.float32)[::2], out22()),
        (unaligned(), out22()),
        (x22().view(Subclass), out22()),
        (np.float32(1), out22()),
        (1.0, out22()),
        (None, out22()),
        ([[0, 1], [2, 3]], out22()),
        (wg.zeros(2, 2, dtype=wg.float64), out22()),
        (x22(), readonly(out22())),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_does_not_fit_is_refused_and_nothing_runs(plans, way, x, out):
    caller = make_array_caller(plans.address("add"), SPECS, table=np.zeros(3, np.uintp), limit=1)
    before = out.copy()
    assert caller(x, y4(), out) is False
    np.testing.assert_array_equal(out, before)


def test_a_read_only_input_will_do(plans, way):
    caller = make_array_caller(plans.address("add"), SPECS, table=np.zeros(3, np.uintp), limit=1)
    out = out22()
    assert caller(readonly(x22()), readonly(y4()), out) is True
    np.testing.assert_array_equal(out, EXPECTED)


def test_the_number_of_arguments(plans, way):
    caller = make_array_caller(plans.address("add"), SPECS, table=np.zeros(3, np.uintp), limit=1)
    assert caller(x22(), y4()) is False
    assert caller() is False
    assert caller(x22(), y4(), out22(), out22()) is False


def test_a_traced_tensor_has_no_value(plans, way):
    caller = make_array_caller(plans.address("add"), SPECS, table=np.zeros(3, np.uintp), limit=1)
    seen = []
    wg.trace(lambda x: (seen.append(caller(x, y4(), out22())), x)[1], wg.zeros(2, 2))
    assert seen == [False]


def test_scalars_and_empty_arrays(plans, way):
    specs = [SPECS[1]._replace(shape=(), slot=1), SPECS[1]._replace(shape=(0, 3)), ArraySpec(F8, (1,) * 5, 2)]
    cell, _function = function_cell(lambda threads: None)
    table = np.zeros(3, np.uintp)
    caller = make_array_caller(plans.address("relay"), [*specs, CELL], table=table, limit=1)
    empty, five = np.zeros((0, 3), np.float32), np.zeros((1,) * 5)
    assert caller(np.zeros((), np.float32), empty, five, cell) is True
    assert table.tolist() == [a.ctypes.data for a in (cell, empty, five)]
    assert caller(np.zeros(1, np.float32), empty, five, cell) is False


@pytest.mark.parametrize("release_gil", [False, True])
def test_pointers(plans, way, limit, release_gil):
    arrays = x22(), y4(), out22()
    table = np.array([a.ctypes.data for a in arrays], np.uintp)
    caller = make_caller(plans.address("add"), release_gil=release_gil, limit=limit)
    assert caller(table.ctypes.data) is None
    np.testing.assert_array_equal(arrays[2], EXPECTED)


def test_a_pointer_must_be_an_int(plans):
    caller = make_caller(plans.address("add"), limit=1)
    with pytest.raises(TypeError):
        caller("no pointer")  # type: ignore[arg-type]


def test_a_plan_that_is_running_is_not_entered_again(plans, way):
    """Neither from within nor by another thread: its table of pointers is in use."""
    seen = []

    def inside(threads: int) -> None:
        seen.append(caller())
        other = threading.Thread(target=lambda: seen.append(caller()))
        other.start()
        other.join()

    cell, _function = function_cell(inside)
    caller = make_array_caller(plans.address("relay"), [], table=np.zeros(1, np.uintp), fixed=[(cell, CELL)], limit=1)
    assert caller() is True and seen == [None, None]
    assert caller() is True and len(seen) == 4


@pytest.mark.slow
def test_arrays_live_while_the_plan_runs(plans, way):
    """Another thread may give the tensor a new value; the old one is freed after the call, not during it."""
    array = np.zeros(4, np.float32)
    gone: list[str] = []
    tensor = wg.from_numpy(array)
    weakref.finalize(array, gone.append, "gone")
    del array

    def inside(threads: int) -> None:
        tensor.data = wg.zeros(4)
        gc.collect()
        gone.append("inside")

    cell, _function = function_cell(inside)
    fixed = [(cell, CELL), (tensor, SPECS[1])]
    caller = make_array_caller(plans.address("relay"), [], table=np.zeros(2, np.uintp), fixed=fixed, limit=1)
    assert caller() is True
    gc.collect()
    assert gone == ["inside", "gone"]


def test_references_are_given_back(plans, way, limit):
    """The counts of all objects involved stay what they were."""
    x, y, out = x22(), wg.from_numpy(y4()), out22()
    caller = make_array_caller(plans.address("add"), SPECS, table=np.zeros(3, np.uintp), limit=limit)
    objects = (x, y, y._value, out, F4, True, None)

    def counts() -> list[int]:
        return [sys.getrefcount(o) for o in objects]

    caller(x, y, out)
    before = counts()
    for _ in range(1000):
        caller(x, y, out)
        caller(x, y, None)
    assert all(abs(now - then) < 500 for now, then in zip(counts(), before))


@pytest.mark.slow
def test_a_caller_keeps_what_it_needs_and_no_more(plans, way):
    class Thing:
        pass

    thing, fixed = Thing(), np.zeros(4, np.float32)
    references = weakref.ref(thing), weakref.ref(fixed)
    table = np.zeros(3, np.uintp)
    caller = make_array_caller(
        plans.address("add"), [SPECS[0], SPECS[2]], table=table, fixed=[(fixed, SPECS[1])], limit=1, keep=thing
    )
    del thing, fixed, table
    gc.collect()
    assert all(reference() is not None for reference in references)
    assert caller(x22(), out22()) is True
    del caller
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@pytest.mark.slow
def test_a_caller_kept_by_what_it_keeps_is_collected(plans, way):
    class Program:
        caller: object = None

    program = Program()
    program.caller = make_caller(plans.address("add"), limit=1, keep=program)
    reference = weakref.ref(program)
    gc.collect()
    assert reference() is not None
    del program
    gc.collect()
    assert reference() is None


def test_an_array_that_looks_otherwise_is_noticed(monkeypatch):
    assert call._looks_as_expected(np.zeros((2, 3)))
    base, ndim = 48, 24  # a base's address may have any bits, those of the flags as well
    wrong = {"DATA_AT": base, "NDIM_AT": base, "DIMS_AT": base, "DTYPE_AT": base, "FLAGS_AT": ndim}
    for name, offset in wrong.items():
        with monkeypatch.context() as patch:
            patch.setattr(call_ir, name, offset)
            assert not call._looks_as_expected(np.ones((2, 3))[:, 1:])


def test_the_ir_compiles_for_arm():
    assert llvm.compile_ir(call_ir.CALL_IR, aarch64(), "call")[18] == 183
