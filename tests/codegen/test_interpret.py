"""The interpreter of loop IR against machine code: the same bits, for every instruction, kind and number of lanes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from wengert.codegen import loop
from wengert.codegen.interpret import DTYPES, Interpreter, run
from wengert.codegen.loop import BITS, I64, Builder, Function, Type, Value, Var, pointer
from wengert.codegen.lower import Lowering, module_text
from wengert.codegen.micro import transpose
from wengert.codegen.target import Target, aarch64, avx512
from wengert.errors import ArgumentError, IndexRangeError, WengertError
from wengert.runtime import llvm, pipeline
from wengert.testing.kernels import bits_differ, native, targets

pytestmark = pytest.mark.slow

FLOATS = ("f16", "bf16", "f32", "f64")
INTEGERS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
KINDS = (*FLOATS, *INTEGERS, "i1")
SIZE = 48
LANES = (1, 4, 16)
TARGETS = pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)


def numbers(kind: str, seed: int) -> np.ndarray[Any, Any]:
    """Awkward and random elements of a kind."""
    rng, dtype = np.random.default_rng([seed, *kind.encode()]), DTYPES[kind]
    if kind == "i1":
        return rng.integers(0, 2, SIZE).astype(bool)
    raw = rng.integers(0, 256, SIZE * dtype.itemsize, np.uint8).view(dtype)
    if kind in FLOATS:
        special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, 2.5, 1.00390625]
        with np.errstate(all="ignore"):
            raw[:12], raw[12:30] = np.array(special).astype(dtype), rng.normal(0, 10, 18).astype(dtype)
    else:
        info = np.iinfo(dtype)
        raw[:5], raw[5:20] = [0, 1, info.max, info.min, info.max - 1], rng.integers(0, 9, 15)
    return rng.permutation(raw)


def places(kind: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(kind)).integers(0, BITS[kind], SIZE).astype(DTYPES[kind])


Case = tuple[Callable[..., Value], tuple[str, ...], str]


def cases() -> Iterator[Case]:
    """Instructions: what writes them, the inputs they take, the kind of the result.

    An input is a kind and a number of the array; ``s`` for places to shift by, ``d`` for divisors, ``n`` for powers.
    """
    for k in KINDS:
        yield from arithmetic(k)
        for to in KINDS:
            if to != k:
                yield (lambda x, to=to: x.b.cast(x, to)), (k + "0",), to
            if BITS[to] == BITS[k]:
                yield (lambda x, to=to: x.b.bitcast(x, to)), (k + "1",), to
    for k in ("f32", "f64"):
        yield (lambda x, y, z: x.b.fma(x, y, z)), (k + "0", k + "1", k + "2"), k
        yield (lambda x, n: x.b.ldexp(x, n)), (k + "m", k + "n"), k
    yield (lambda c: c.b.splat(c.b.any(c), c.lanes)), ("i11",), "i1"
    for k in ("f32", "u8", "bf16"):
        yield (lambda x: x.b.splat(x.b.extract(x, x.lanes // 2), x.lanes)), (k + "0",), k
        yield shuffled, (k + "0", k + "1"), k
        yield (lambda x, k=k: x + x.b.cast(x.b.iota(x.lanes, "i32"), k)), (k + "0",), k


def shuffled(x: Value, y: Value) -> Value:
    mixed = x.b.shuffle(x, y, [i % (2 * x.lanes) for i in range(1, 2 * x.lanes, 2)])
    return x.b.insert(mixed, x.b.extract(y, 0), x.lanes // 2) if x.lanes > 1 else mixed


def arithmetic(k: str) -> Iterator[Case]:
    more = ("sqrt", "rint") if k in FLOATS else ("ctpop", "ctlz")
    for op in ("neg", "abs", "floor", "ceil", "trunc", *more):
        yield (lambda x, op=op: x.b.unary(op, x)), (k + "0",), k
    more = ("div", "rem", "copysign") if k in FLOATS else ("and", "or", "xor")
    for op in ("add", "sub", "mul", "min", "max", *more):
        yield (lambda x, y, op=op: x.b.binary(op, x, y)), (k + "0", k + "1"), k
    for op in sorted(loop.COMPARE):
        yield (lambda x, y, op=op: x.b.compare(op, x, y)), (k + "0", k + "1"), "i1"
    yield (lambda c, x, y: x.b.select(c, x, y)), ("i10", k + "0", k + "1"), k
    if k in INTEGERS:
        for op, other in (("div", "d"), ("rem", "d"), ("shl", "s"), ("shr", "s")):
            yield (lambda x, y, op=op: x.b.binary(op, x, y)), (k + "0", k + other), k


def inputs() -> dict[str, np.ndarray[Any, Any]]:
    out = {f"{k}{i}": numbers(k, i) for k in KINDS for i in range(3)}
    for k in INTEGERS:
        divisors = numbers(k, 5)
        out[k + "s"], out[k + "d"] = places(k), np.where((divisors == 0) | (divisors + 1 == 0), 3, divisors)
        out[k + "d"] = out[k + "d"].astype(DTYPES[k])
    rng = np.random.default_rng(8)
    for k, top in (("f32", 140), ("f64", 1080)):
        out[k + "m"] = rng.uniform(0.5, 2.0, SIZE).astype(DTYPES[k])
        out[k + "n"] = rng.integers(-top, top, SIZE).astype(DTYPES[k])
    return out


INPUTS = inputs()


def every_instruction(lanes: int) -> tuple[Function, int]:
    """A function that does them all, each on all elements; and how many bytes it writes."""
    used = {n: x for n, x in INPUTS.items()}
    b = Builder(
        "everything", **{n: pointer(next(k for k in KINDS if n.startswith(k))) for n in used}, out=pointer("u8")
    )
    start = 0
    for f, names, result in cases():
        size = Type(result).nbytes
        start = -(-start // 8) * 8
        place = b.retype(b.offset(b.out, start), result)
        with b.loop(0, SIZE, lanes, unroll=1) as i:
            b.store(place, i, f(*[b.load(b.by_name[n], i, lanes=lanes) for n in names]))
        start += size * SIZE
    return b.finish(), start


@pytest.mark.parametrize("lanes", LANES)
@TARGETS
def test_every_instruction(lanes: int, target: Target) -> None:
    f, size = every_instruction(lanes)
    outs = [np.zeros(size + 64, np.uint8) for _ in range(2)]
    run(f, *INPUTS.values(), outs[0])
    native(f, target)(*INPUTS.values(), outs[1])
    start, wrong = 0, []
    for number, (g, names, result) in enumerate(cases()):
        start = -(-start // 8) * 8
        stop = start + Type(result).nbytes * SIZE
        differ = np.flatnonzero(bits_differ(*[o[start:stop].view(DTYPES[result]) for o in outs]))
        if differ.size:
            wrong.append((number, g.__code__.co_names, names, result, [INPUTS[n][differ[0]] for n in names]))
        start = stop
    assert not wrong


def both(f: Function, *arguments: Any, target: Target | None = None) -> list[np.ndarray[Any, Any]]:
    """Run both ways; the arrays as both leave them, which must be the same."""
    copies = [[x.copy() if isinstance(x, np.ndarray) else x for x in arguments] for _ in range(2)]
    run(f, *copies[0])
    native(f, target)(*copies[1])
    for x, y in zip(*copies, strict=True):
        assert not isinstance(x, np.ndarray) or not bits_differ(x, y).any()
    return [x for x in copies[0] if isinstance(x, np.ndarray)]


# -- memory --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@TARGETS
def test_masked_memory(kind: str, target: Target) -> None:
    """Loads, stores, gathers and scatters of 1, 4 and 16 lanes, under masks."""
    b = Builder("memory", x=pointer(kind), m=pointer("i1"), at=pointer("i64"), y=pointer(kind))
    place = 0
    for lanes in LANES:
        mask = b.load(b.m, 0, lanes)
        index = b.load(b.at, 0, lanes)
        for held in (None, mask):
            for value in (b.load(b.x, 2, lanes, held), b.gather(b.x, index, held)):
                b.store(b.y, place, value, held)
                b.scatter(b.offset(b.y, place + 16), index, value, held)
                place += 64
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 2, 16).astype(bool)
    mask[0] = False
    f = b.finish()
    both(f, numbers(kind, 0), mask, rng.integers(0, 48, 16), np.zeros(place, DTYPES[kind]), target=target)


def test_masked_off_is_not_accessed() -> None:
    """A tail at the end of an array, where the other lanes lie outside."""
    b = Builder("tail", x=pointer("f32"), y=pointer("f32"), n=I64)
    with b.loop(0, b.n, 16) as i:
        mask = (b.splat(i, 16) + b.iota(16)) < b.n
        b.store(b.y, i, b.load(b.x, i, 16, mask) * 2.0, mask)
    x = np.arange(21, dtype=np.float32)
    assert np.array_equal(both(b.finish(), x, np.zeros_like(x), 21)[1], 2 * x)


def test_of_equal_indices_the_last_lane_wins() -> None:
    b = Builder("scatter", y=pointer("i32"))
    b.scatter(b.y, b.iota(8) & 1, b.iota(8, "i32"))
    assert both(b.finish(), np.zeros(2, np.int32))[0].tolist() == [6, 7]


def test_pointers_move_and_change_kind() -> None:
    b = Builder("words", x=pointer("f32"), y=pointer("u8"))
    p = b.retype(b.offset(b.x, 1), "u8")
    b.store(b.y, 0, b.load(p, 0, lanes=4))
    b.prefetch(b.x, 100)
    scratch = b.array("f64", 3)
    b.store(scratch, 2, b.const(1.5, Type("f64")))
    b.store(b.retype(b.offset(b.y, 8), "f64"), 0, b.load(scratch, 2))
    both(b.finish(), np.array([1.0, -3.5], np.float32), np.zeros(16, np.uint8))


@pytest.mark.parametrize(("kind", "n"), [("f32", 16), ("f32", 8), ("f32", 4), ("f64", 8), ("f64", 2), ("i16", 16)])
def test_squares_are_transposed(kind: str, n: int) -> None:
    b = Builder("square", x=pointer(kind), y=pointer(kind))
    for i, row in enumerate(transpose(b, [b.load(b.x, i * n, n) for i in range(n)])):
        b.store(b.y, i * n, row)
    x = np.arange(n * n).astype(DTYPES[kind])
    assert np.array_equal(both(b.finish(), x, np.zeros_like(x))[1].reshape(n, n), x.reshape(n, n).T)


def test_squares_are_transposed_without_registers_for_constants() -> None:
    """Such registers were kept over a whole product, whose sums then went through memory: it took 2.3 times as long."""
    b = Builder("square", x=pointer("f32"), y=pointer("f32"))
    for i, row in enumerate(transpose(b, [b.load(b.x, i * 16, 16) for i in range(16)])):
        b.store(b.y, i * 16, row)
    target = avx512()
    module = pipeline.parsed(module_text([b.finish()]), target.triple, target.cpu, target.features)
    machine = pipeline.machine(target.triple, target.cpu, target.features)
    pipeline.optimise(module, machine)
    assert "vperm" not in machine.emit_assembly(module)


# -- control -------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 5, 1), (0, 5, 2), (3, 3, 1), (5, 0, 1), (-4, 3, 3)])
@pytest.mark.parametrize("unroll", [0, 1, 4])
def test_loops(start: int, stop: int, step: int, unroll: int) -> None:
    """With bounds known and unknown, empty ones too."""
    b = Builder("loops", y=pointer("i64"), start=I64, stop=I64, step=I64)
    for place, bounds in enumerate([(start, stop, step), (b.start, b.stop, b.step)]):
        total = b.var(0, I64)
        with b.loop(*bounds, unroll=unroll) as i, b.loop(0, i) as j:
            total.set(total.get() * 3 + i - j)
        b.store(b.y, place, total.get())
    y = both(b.finish(), np.zeros(2, np.int64), start, stop, step)[0]
    want = 0
    for i in range(start, stop, step):
        for j in range(i):
            want = want * 3 + i - j
    assert y.tolist() == [want, want]


def test_scalars_are_shuffled_into_a_vector() -> None:
    b = Builder("pairs", x=pointer("f32"))
    b.store(b.x, 2, b.shuffle(b.load(b.x, 0), b.load(b.x, 1), [1, 0, 0, 1]))
    x = np.array([1.0, 2.0, 0.0, 0.0, 0.0, 0.0], np.float32)
    assert both(b.finish(), x)[0].tolist() == [1, 2, 2, 1, 1, 2]


def test_branches_and_repetition() -> None:
    """The steps of Collatz' sequence."""
    b = Builder("collatz", y=pointer("i64"), n=I64)
    with b.loop(1, b.n) as i:
        x, steps = b.var(i), b.var(0, I64)

        def body(x: Var = x, steps: Var = steps) -> None:
            odd = (x.get() & 1) == 1
            with b.when(odd):
                x.set(x.get() * 3 + 1)
            with b.otherwise():
                x.set(x.get() >> 1)
            steps.set(steps.get() + 1)

        b.repeat(lambda x=x: x.get() > 1, body)
        b.store(b.y, i, steps.get())
    assert both(b.finish(), np.zeros(10, np.int64), 10)[0].tolist() == [0, 0, 1, 7, 2, 5, 8, 16, 3, 19]


def test_calls_and_external_functions() -> None:
    inner = Builder("inner", x=pointer("f64"), n=I64)
    with inner.loop(0, inner.n) as i:
        inner.store(inner.x, i, inner.load(inner.x, i) + 1.0)
    b = Builder("outer", x=pointer("f64"))
    b.call(inner.finish(), b.offset(b.x, 1), 2)
    b.store(b.x, 0, b.call_external("llvm.exp.f64", Type("f64"), b.load(b.x, 1)))
    x = np.zeros(4)
    run(b.finish(), x, external={"llvm.exp.f64": np.exp})
    assert x.tolist() == [np.e, 1.0, 1.0, 0.0]
    with pytest.raises(WengertError, match=r"outer: calls a function that was not provided"):
        run(b.finish(), x)


# -- what it checks ------------------------------------------------------------------------


@pytest.mark.parametrize("index", [-1, 4])
@pytest.mark.parametrize("how", ["load", "store", "gather", "scatter", "inner"])
def test_access_outside_is_an_error(index: int, how: str) -> None:
    b = Builder("reader", left=pointer("f32"), i=I64)
    x = b.const(1.0, Type("f32"))
    if how == "load":
        b.load(b.left, b.i)
    elif how == "store":
        b.store(b.left, b.i, x)
    elif how == "gather":
        b.gather(b.left, b.i)
    elif how == "scatter":
        b.scatter(b.left, b.i, x)
    else:
        b.load(b.offset(b.left, b.i), 0)
    message = r"reader: left is accessed outside of its memory: index .* of 4 elements of f32"
    with pytest.raises(IndexRangeError, match=message):
        run(b.finish(), np.zeros(4, np.float32), index)
    if how != "inner":
        with pytest.raises(IndexRangeError, match=f"index {index} of 4"):
            run(b.finish(), np.zeros(4, np.float32), index)


@TARGETS
def test_vectors_written_past_the_caches(target: Target) -> None:
    b = Builder("past", x=pointer("f32"), y=pointer("f32"))
    with b.when((b.address(b.y) % 64) == 0):
        b.stream(b.y, 16, b.load(b.x, 3, lanes=16) * 2.0, 64)
        b.fence()
    f = b.finish()
    memory = np.zeros(64, np.float32)
    start = -memory.ctypes.data % 64 // 4
    x, y = np.arange(19, dtype=np.float32), memory[start : start + 32]
    for call in (lambda *xs: run(f, *xs), native(f, target)):
        y[:] = 0.0
        call(x, y)
        np.testing.assert_array_equal(y[16:], 2.0 * x[3:])
    b = Builder("wrong", y=pointer("f32"))
    b.stream(b.y, 1, b.const(1.0, Type("f32", 16)), 64)
    with pytest.raises(WengertError, match=r"y is not aligned to 64 bytes"):
        run(b.finish(), y)


def test_what_is_undefined_is_an_error() -> None:
    b = Builder("wrong", x=pointer("i32"))
    b.binary("div", b.load(b.x, 0), b.load(b.x, 1))
    with pytest.raises(WengertError, match=r"wrong: an integer division that traps"):
        run(b.finish(), np.array([-(2**31), -1, 32], np.int32))
    b = Builder("wrong", x=pointer("i32"))
    b.binary("shl", b.load(b.x, 0), b.load(b.x, 2))
    with pytest.raises(WengertError, match=r"wrong: a shift by too many bits"):
        run(b.finish(), np.array([1, -1, 32], np.int32))
    b = Builder("wrong", x=pointer("i32"))
    b.store(b.x, 0, b.load(b.x, 1, align=128) + b.load(b.x, 2, align=128))
    with pytest.raises(WengertError, match=r"wrong: x is not aligned to 128 bytes"):
        run(b.finish(), np.zeros(64, np.int32))
    b = Builder("wrong", n=I64)
    with b.loop(0, 3, b.n):
        pass
    with pytest.raises(WengertError, match=r"a loop needs a positive step"):
        run(b.finish(), 0)


def test_arguments_must_fit() -> None:
    b = Builder("f", x=pointer("f32"), n=I64)
    with pytest.raises(ArgumentError, match="f: needs 2 arguments: 1"):
        run(b.finish(), np.zeros(3))
    with pytest.raises(ArgumentError, match="x must be a contiguous array"):
        run(b.finish(), np.zeros((3, 3)).T[::2], 1)


def test_both_know_every_instruction() -> None:
    printed, interpreted = ({n for n in dir(c) if n.startswith("op_")} for c in (Lowering, Interpreter))
    assert printed == interpreted
    named = {"op_" + n for n in loop.UNARY | loop.BINARY | loop.COMPARE}
    assert named <= printed


def test_every_instruction_compiles_for_another_architecture() -> None:
    f, _ = every_instruction(4)
    target = aarch64()
    code = llvm.compile_ir(module_text([f], target), target, "everything")
    assert code[:4] == b"\x7fELF"


# -- random programs -------------------------------------------------------------------------


class Programs:
    """Writes a random function of the kinds' arrays."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.kinds = self.rng.sample(["f32", "f64", "i32", "i64", "u8", "bf16", "u32"], 3)
        self.lanes = self.rng.choice(LANES)
        self.b = Builder(
            "program", **{k: pointer(k) for k in self.kinds}, **{"to_" + k: pointer(k) for k in self.kinds}, n=I64
        )
        self.variables: list[Var] = []

    def function(self) -> Function:
        with self.b.loop(0, SIZE, 16) as i:
            self.at = i
            self.variables = [self.b.var(self.element(k)) for k in self.kinds]
            self.body(3)
            for v, k in zip(self.variables, self.kinds, strict=True):
                self.b.store(self.b.by_name["to_" + k], i, v.get())
        return self.b.finish()

    def element(self, kind: str) -> Value:
        index = self.at + self.rng.randrange(0, 17 - self.lanes)
        if self.rng.random() < 0.3:
            index = self.b.splat(index, self.lanes) + (self.b.iota(self.lanes) & self.rng.randrange(16))
            return self.b.gather(self.b.by_name[kind], index & 31, self.condition() if self.lanes > 1 else None)
        return self.b.load(self.b.by_name[kind], index, self.lanes)

    def body(self, depth: int) -> None:
        for _ in range(self.rng.randrange(1, 4)):
            choice = self.rng.random()
            if depth == 0 or choice < 0.5:
                v = self.rng.randrange(len(self.kinds))
                self.variables[v].set(self.expression(self.kinds[v], 3))
            elif choice < 0.7:
                with self.b.loop(0, self.rng.choice([self.b.n, 0, 3]), self.rng.choice([1, 2])):
                    self.body(depth - 1)
            elif choice < 0.9:
                with self.b.when(self.b.any(self.condition())):
                    self.body(depth - 1)
                with self.b.otherwise():
                    self.body(depth - 1)
            else:
                count = self.b.var(0, I64)
                self.b.repeat(
                    lambda c=count: c.get() < 3, lambda c=count: (self.body(depth - 1), c.set(c.get() + 1))[1]
                )

    def condition(self) -> Value:
        k = self.rng.choice(self.kinds)
        return self.b.compare(self.rng.choice(sorted(loop.COMPARE)), self.element_of(k), self.element_of(k))

    def element_of(self, kind: str) -> Value:
        return (
            self.variables[self.kinds.index(kind)].get() if self.variables else self.b.const(1, Type(kind, self.lanes))
        )

    def expression(self, kind: str, depth: int) -> Value:
        rng, b = self.rng, self.b
        if depth == 0:
            return rng.choice([lambda: self.element(kind), lambda: self.element_of(kind)])()
        choice = rng.random()
        if choice < 0.2:
            return b.cast(self.expression(rng.choice(self.kinds), depth - 1), kind)
        x, y = self.expression(kind, depth - 1), self.expression(kind, depth - 1)
        if choice < 0.4:
            return b.select(self.condition(), x, y)
        if choice < 0.5:
            return b.unary(rng.choice(["neg", "abs"]), x)
        if choice < 0.6 and self.lanes > 1:
            op = rng.choice(["add", "min", "max"] if kind in FLOATS else ["add", "xor", "min"])
            return b.splat(b.reduce(op, x), self.lanes)
        if choice < 0.65:
            return b.splat(b.extract(x, rng.randrange(self.lanes)), self.lanes)
        more = ["div", "copysign"] if kind in FLOATS else ["and", "or", "xor"]
        return b.binary(rng.choice(["add", "sub", "mul", "min", "max", *more]), x, y)


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed: int) -> None:
    programs = Programs(seed)
    f = programs.function()
    arrays = [numbers(k, seed) for k in programs.kinds]
    target = targets()[seed % len(targets())]
    both(f, *arrays, *[np.zeros_like(x) for x in arrays], seed % 3, target=target)


def test_equal_instructions_are_written_once_between_loops():
    b = Builder("f", p=pointer("f32"), n=I64)
    x = b.n * 3
    assert b.n * 3 is x and b.n * 4 is not x and b.n + 3 is not x
    v = b.load(b.p, 0, lanes=4)
    assert b.load(b.p, 0, lanes=4) is not v  # something may have been stored
    assert b.shuffle(v, v, (0, 1)) is b.shuffle(v, v, (0, 1))
    assert b.shuffle(v, v, (0, 1)) is not b.shuffle(v, v, (1, 0))
    assert v * 0.0 is not v * -0.0
    with b.loop(0, b.n):
        assert b.n * 3 is not x
        y = b.n * 5
    assert b.n * 3 is not x and b.n * 5 is not y
