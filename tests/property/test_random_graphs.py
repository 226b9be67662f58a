"""Random programs: every way to run and to differentiate them agrees with NumPy and with each other."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import wengert as wg
from wengert.graph.show import from_python
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

# Smooth, bounded functions, so that deep programs stay in range and difference quotients mean something.
UNARY = {
    "tanh": (wg.tanh, np.tanh),
    "sin": (wg.sin, np.sin),
    "sigmoid": (wg.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "half": (lambda x: x * 0.5, lambda x: x * 0.5),
    "rational": (lambda x: 1 / (1 + x * x), lambda x: 1 / (1 + x * x)),
    "transpose": (lambda x: x.transpose(0, 1), lambda x: x.T),
    "flip": (lambda x: x.flip(0), lambda x: x[::-1]),
    "roll": (lambda x: x.roll(1, 1), lambda x: np.roll(x, 1, 1)),
    "center": (lambda x: x - x.mean(1, keepdim=True), lambda x: x - x.mean(1, keepdims=True)),
    "softmax": (lambda x: wg.softmax(x, 0), lambda x: np.exp(x - x.max(0)) / np.exp(x - x.max(0)).sum(0)),
    "cumsum": (lambda x: x.cumsum(0) * 0.3, lambda x: np.cumsum(x, 0) * 0.3),
    "rows": (lambda x: x[[2, 0, 0]], lambda x: x[[2, 0, 0]]),
    "masked": (lambda x: wg.where(MASK, x, 0.1 * x), lambda x: np.where(MASK.numpy(), x, 0.1 * x)),
}
BINARY = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "mul": (lambda x, y: x * y, lambda x, y: x * y),
    "sub": (lambda x, y: x - y, lambda x, y: x - y),
    "matmul": (lambda x, y: x @ y * 0.3, lambda x, y: x @ y * 0.3),
    "row": (lambda x, y: x + y[0], lambda x, y: x + y[0]),
    "hypot": (lambda x, y: (x * x + y * y + 0.1).sqrt(), lambda x, y: np.sqrt(x * x + y * y + 0.1)),
}
MASK = wg.tensor(np.tri(3, dtype=bool))

step = st.one_of(
    st.tuples(st.sampled_from(sorted(UNARY)), st.integers(0, 7)),
    st.tuples(st.sampled_from(sorted(BINARY)), st.integers(0, 7), st.integers(0, 7)),
)
programs = st.lists(step, min_size=1, max_size=8)


def run(program, x, y, numpy):
    """Run a program on two 3 by 3 values; each step reads earlier results."""
    values = [x, y]
    for name, *where in program:
        table = UNARY if name in UNARY else BINARY
        values.append(table[name][numpy](*[values[i % len(values)] for i in where]))
    return values[-1]


def point(seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (3, 3)), rng.uniform(-1, 1, (3, 3))


@given(programs, st.integers(0, 100))
def test_eager_equals_numpy_equals_the_printed_graph(program, seed):
    x, y = point(seed)
    want = run(program, x, y, 1)
    tx, ty = wg.tensor(x), wg.tensor(y)
    np.testing.assert_allclose(run(program, tx, ty, 0).numpy(), want, rtol=1e-10, atol=1e-12)
    graph = wg.trace(lambda a, b: run(program, a, b, 0), tx, ty)
    np.testing.assert_allclose(graph(tx, ty).numpy(), want, rtol=1e-10, atol=1e-12)
    again = from_python(str(graph))
    captured = [wg.tensor(n.value) for n in graph.captures]
    np.testing.assert_array_equal(again(tx, ty, *captured).numpy(), graph(tx, ty).numpy())


@given(programs, st.integers(0, 100))
def test_forward_equals_reverse_equals_numeric(program, seed):
    check_first_order(Point(lambda a, b: [run(program, a, b, 0)], point(seed)))


@settings(max_examples=15)
@given(programs, st.integers(0, 100))
def test_second_order_in_four_compositions(program, seed):
    check_second_order(Point(lambda a, b: [run(program, a, b, 0)], point(seed)))


@settings(max_examples=15)
@given(programs, st.integers(0, 100))
def test_vmap_equals_a_loop(program, seed):
    check_vmap(lambda a, b: [run(program, a, b, 0)], point(seed))


@settings(max_examples=20)
@given(programs, st.integers(0, 100))
def test_backward_equals_the_transforms(program, seed):
    x, y = (wg.tensor(v, requires_grad=True) for v in point(seed))
    out = run(program, x, y, 0).sum()
    gx, gy = wg.func.grad(lambda a, b: run(program, a, b, 0).sum(), argnums=(0, 1))(x.detach(), y.detach())
    if out.requires_grad:
        out.backward()
    for leaf, g in ((x, gx), (y, gy)):
        got = np.zeros((3, 3)) if leaf.grad is None else leaf.grad.numpy()
        np.testing.assert_allclose(got, g.numpy(), rtol=1e-10, atol=1e-12)


@settings(max_examples=20)
@given(programs, st.integers(0, 100), st.integers(0, 7))
def test_a_write_in_place_is_differentiated(program, seed, where):
    """x[i] = f(y) in a program equals the same program with the write done by `where`."""
    x, y = point(seed)
    mask = wg.tensor((np.arange(9).reshape(3, 3) // 3) == where % 3)

    def written(a, b):
        c = a * 1.0
        c[where % 3] = run(program, a, b, 0)[1]
        return (c * c).sum()

    def pure(a, b):
        c = wg.where(mask, run(program, a, b, 0)[1], a * 1.0)
        return (c * c).sum()

    got = wg.func.grad(written, argnums=(0, 1))(wg.tensor(x), wg.tensor(y))
    want = wg.func.grad(pure, argnums=(0, 1))(wg.tensor(x), wg.tensor(y))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-10, atol=1e-12)
