"""Compiled functions: the same values as eager ones, over shapes, dtypes, structures and ops."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert.nn import functional as F


def check(f, *args, tol=1e-6, calls=2):
    """Compiled, called twice, equals eager."""
    compiled = wg.compile(f)
    for _ in range(calls):
        found, expected = compiled(*args), f(*args)
        for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
            assert x.dtype == y.dtype and x.shape == y.shape
            np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=tol, atol=tol)
    return compiled


def rand(*shape, dtype=np.float32, seed=0):
    return wg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


@pytest.mark.quick(shape=[(), (3, 33)], dtype=[np.float32])
@pytest.mark.parametrize(
    "shape", [(), (1,), (3,), (16,), (17,), (100,), (5, 7), (3, 33), (2, 3, 4), (1, 1, 5), (40, 1)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementwise_and_reductions(shape, dtype):
    x, y = rand(*shape, dtype=dtype), rand(*shape, dtype=dtype, seed=1)
    check(lambda x, y: (x * y + x.exp().tanh() - y / 3, (x > y), x.abs().sqrt().sum()), x, y, tol=2e-6)
    for d in range(len(shape)):
        check(lambda x, d=d: (x.sum(d), x.mean(d, True), x.amax(d), x.softmax(d), x - x.mean(d, True)), x, tol=2e-6)
    check(lambda x: (x.max(), x.min(), x.prod(), (x > 0).any(), (x > 0).all()), x, tol=2e-6)


def test_movements():
    x = rand(4, 6, 5)
    check(lambda x: x.permute(2, 0, 1) * 2, x)
    check(lambda x: x.transpose(0, 2).reshape(10, 12) + 1, x)
    check(lambda x: x[1:3, ::2, -1] * x[0, 0, 0], x)
    check(lambda x: x.flip(1).cumsum(0), x)
    check(lambda x: wg.cat([x, x[:, :2]], 1).relu(), x)
    check(lambda x: F.pad(x, (1, 2, 0, 3), value=2.0) + 1, x)
    check(lambda x: wg.stack([x, x + 1]).sum(0), x)
    check(lambda x: x.expand(3, 4, 6, 5).sum((0, 2)), x)
    check(lambda x: x.unfold(1, 3, 2).sum(-1), x)
    check(lambda x: x.reshape(8, 15).t().reshape(4, 30), x)
    check(lambda x: x.roll(2, 1) * x.tril(), x)
    check(lambda x: x.repeat(2, 1, 3), x)


def test_indexing():
    x, i = rand(6, 6), wg.tensor([0, 5, -1, 2])
    check(lambda x, i: x[i] * 2, x, i)
    check(lambda x, i: x[:, i].sum(1), x, i)
    check(lambda x, i: F.embedding(i.abs(), x).tanh(), x, i)
    check(lambda x, i: x.gather(1, i.abs()[:, None].clamp(max=3).expand(4, 2)), x, i)
    check(lambda x, i: wg.zeros(6, 6).index_add(0, i.abs(), x[:4]), x, i)
    check(lambda x, i: x.index_select(0, i.abs()), x, i)
    check(lambda x, i: (x[i] + i[:, None], (x[i] * 2).softmax(1)), x, i)

    def write(x):
        y = x.clone()
        y[1:3] = 0
        y[:, 2] += 5
        return y

    check(write, x)


@pytest.mark.quick(dtype=["int32", "bool", "bfloat16"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "float16", "bfloat16", "float64"])
def test_dtypes(dtype):
    x = wg.tensor(np.arange(-8, 12).reshape(4, 5) % 7).to(getattr(wg, dtype))
    check(lambda x: (x.float() * 2, x.to(wg.int64) + 1, x == x[0, 0]), x)
    if dtype not in ("bool",):
        check(lambda x: (x + x, x * 3, x.sum(), x.amax(1)), x, tol=1e-2)
    if "float" in dtype:
        check(lambda x: (x / 3).exp().sum(1), x, tol=2e-2 if "16" in dtype else 1e-12)


def test_products():
    a, b, c = rand(5, 7), rand(7, 3), rand(2, 3, 5, 7)
    check(lambda a, b: (a @ b, a.t() @ a, (b.t() @ a.t()).relu()), a, b, tol=1e-5)
    check(lambda b, c: (c @ b, c @ c.transpose(-1, -2), (c @ b).permute(0, 2, 1, 3).reshape(2, 15, 3)), b, c, tol=1e-5)
    check(lambda a: a @ a[0], a, tol=1e-5)
    check(lambda a, b: wg.einsum("ij,jk->ki", a, b), a, b, tol=1e-5)


def test_what_numpy_computes_is_part_of_the_program():
    x = rand(5, 5, dtype=np.float64)

    def f(x):
        s = x @ x.t() + 5 * wg.eye(5, dtype=wg.float64)
        return wg.linalg.cholesky(s).sum() + wg.fft.rfft(x[0]).abs().sum() + x.sort(0)[0][2].sum()

    check(f, x, tol=1e-10)


def test_derivatives():
    x = rand(6, dtype=np.float64)
    check(wg.func.grad(lambda x: (x.sin() * x).sum()), x, tol=1e-12)
    check(wg.func.hessian(lambda x: (x**3).sum() + x.prod()), x, tol=1e-10)
    check(wg.func.vmap(lambda x: x * x.exp()), rand(4, 3), tol=1e-5)
    check(lambda x: wg.func.jvp(lambda y: y.tanh(), (x,), (x,)), x, tol=1e-12)


def test_control_flow():
    x = rand(4, dtype=np.float64)
    check(lambda x: wg.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,)), x)
    check(
        lambda x: wg.while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, y.sin()), (wg.tensor(0), x))[1], x, tol=1e-12
    )
    check(lambda x: wg.scan(lambda c, s: (c + s, c * s), wg.zeros((), dtype=wg.float64), x), x, tol=1e-12)
    check(wg.func.grad(lambda x: wg.scan(lambda c, s: ((c * s).sin(), c), x[0], x)[1].sum()), x, tol=1e-12)


def test_structures_numpy_and_numbers():
    f = wg.compile(lambda d, k: {"sum": d["a"] + d["b"][0] * k, "k": k, "same": d["a"]})
    a = np.ones(3, np.float32)
    out = f({"a": a, "b": (wg.ones(3),)}, 2.0)
    np.testing.assert_array_equal(out["sum"].numpy(), [3, 3, 3])
    assert out["k"] == 2.0
    np.testing.assert_array_equal(out["same"].numpy(), a)
    with pytest.warns(wg.RecompileWarning):
        f({"a": a, "b": (wg.ones(3),)}, 3.0)


@pytest.mark.quick(dtype=[wg.bfloat16])
@pytest.mark.parametrize("dtype", [wg.float16, wg.bfloat16])
def test_half_precision_is_native(dtype):
    """What has no kernel of its own goes through float32, and is rounded once, as in eager mode."""
    image, rows, weight = (rand(*s).to(dtype) for s in ((2, 3, 8, 8), (12, 33), (5, 3, 3, 3)))
    ids = wg.tensor([[3, 0, 3], [11, 5, 0]])
    programs = {
        "products": (lambda x: x @ x.mT, rows),
        "batched": (lambda x: x @ x.mT, image),
        "convolution": (lambda x: F.conv2d(x, weight, padding=1), image),
        "largest": (lambda x: F.max_pool2d(x, 3, 2, 1), image),
        "embedding": (lambda x: F.embedding(ids, x), rows),
        "sum": (lambda x: x.sum(0), rows),
        "extremes": (lambda x: x.amax(0) - x.amin(0), rows),
        "product": (lambda x: x.prod(0), rows),
        "scattered": (lambda x: wg.zeros(12, 40, dtype=dtype).scatter_add(1, wg.full((2, 33), 7), x[:2]), rows),
    }  # fmt: skip
    for name, (f, x) in programs.items():
        for g in (f, wg.func.grad(lambda x, f=f: (f(x).float() ** 2).sum())):
            compiled = wg.compile(g)
            found, right = compiled(x), g(x)
            assert compiled.latest.program.native, name
            assert found.dtype == right.dtype
            np.testing.assert_allclose(found.float().numpy(), right.float().numpy(), rtol=0.02, atol=0.02, err_msg=name)


def test_results_that_are_one_tensor_stay_one():
    def f(x):
        y, z = x * 2, x + 1
        return {"z": z, "pair": [y, y], "none": None}

    found = wg.compile(f)(wg.ones(3))
    assert found["pair"][0] is found["pair"][1]
    assert [found["z"].tolist(), found["pair"][0].tolist(), found["none"]] == [[2.0] * 3, [2.0] * 3, None]
    z, y = wg.compile(lambda x: (x + 1, x * 3))(wg.ones(2))
    assert (z.tolist(), y.tolist()) == ([2.0, 2.0], [3.0, 3.0])


def test_arguments_of_any_strides():
    x = rand(6, 8)
    f = wg.compile(lambda x: (x * 2).sum(0))
    for y in (x[:, ::2], x[:, :4], x.t()[:4].t(), x.flip(1)[:, :4]):
        np.testing.assert_allclose(f(y).numpy(), (y * 2).sum(0).numpy(), rtol=1e-6)
    assert sum(map(len, f.steps.values())) == 1


def test_empty_and_nan():
    check(lambda x: (x * 2, x.sum(), x.sum(0)), wg.zeros(0, 3))
    x = wg.tensor([1.0, float("nan"), float("inf"), -0.0])
    found = wg.compile(lambda x: (x.amax(), x.maximum(x.flip(0)), x.relu(), x.exp(), x.sum()))(x)
    for a, b in zip(found, (x.amax(), x.maximum(x.flip(0)), x.relu(), x.exp(), x.sum()), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=3e-7)


def test_arguments_may_be_changed_in_place():
    def f(x, y):
        x.add_(y)
        return x * 2

    compiled = wg.compile(f)
    x = wg.zeros(3)
    for k in (1, 2):
        out = compiled(x, wg.ones(3))
        np.testing.assert_array_equal(x.numpy(), [k] * 3)
        np.testing.assert_array_equal(out.numpy(), [2 * k] * 3)


def test_random_numbers_are_those_of_eager_mode():
    def f(x):
        return x + wg.randn(3), wg.rand(4), wg.randint(0, 10, (5,))

    compiled = wg.compile(f)
    for seed in (0, 1):
        wg.manual_seed(seed)
        found = [compiled(wg.zeros(3)) for _ in range(2)]
        wg.manual_seed(seed)
        expected = [f(wg.zeros(3)) for _ in range(2)]
        for xs, ys in zip(found, expected, strict=True):
            for x, y in zip(xs, ys, strict=True):
                np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_threads_give_the_same_bits():
    x, w = rand(300, 200), rand(200, 150)

    def f(x, w):
        y = (x @ w).softmax(1)
        return y, y.sum(0), (x * 3).exp().mean()

    before = wg.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            wg.set_num_threads(n)
            found.append([t.numpy().copy() for t in wg.compile(f)(x, w)])
    finally:
        wg.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.quick(channels=[16])
@pytest.mark.parametrize("channels", [3, 16])
def test_pooling_and_convolutions(channels):
    x, w = rand(2, channels, 9, 11), rand(8, channels, 3, 3, seed=1)

    def f(x, w):
        y = F.max_pool2d(F.conv2d(x, w, padding=1).relu(), 3, 2, 1)
        z = F.avg_pool2d(y, 2) + F.adaptive_avg_pool2d(y, (2, 3))[:, :, :1, :1]
        return z, F.max_pool2d(x, 2, return_indices=True)

    check(f, x, w, tol=1e-5)
    check(wg.func.grad(lambda x, w: (f(x, w)[0] ** 2).sum(), (0, 1)), x, w, tol=1e-4)


@pytest.mark.slow
def test_convolutions_of_every_kind():
    x = rand(2, 4, 12)
    check(lambda x: F.conv1d(x, rand(6, 2, 3), stride=2, padding=1, groups=2), x, tol=1e-5)
    check(wg.func.grad(lambda x: (F.conv_transpose1d(x, rand(4, 3, 4), stride=3, padding=1) ** 2).sum()), x, tol=1e-4)
    y = rand(1, 2, 5, 6, 4)
    check(wg.func.grad(lambda y: (F.conv3d(y, rand(3, 2, 2, 3, 2), dilation=(1, 2, 1)) ** 2).sum()), y, tol=1e-4)
    z = rand(2, 6, 8, 8)
    check(wg.func.grad(lambda z: (F.conv2d(z, rand(6, 1, 3, 3), groups=6, stride=2) ** 2).sum()), z, tol=1e-4)


@pytest.mark.parametrize("size", [1, 17, 33, 49])
def test_bytes_behind_the_last_vector_are_left_alone(size):
    """LLVM 22 stores a whole word for a narrowed byte if a mask has one lane."""
    x = wg.tensor(np.arange(size) % 100).to(wg.int32)
    check(lambda x: (x.to(wg.uint8), x.to(wg.int8) + 1, x.to(wg.int16)), x)


# -- conversions -------------------------------------------------------------------------------------


KINDS = [wg.bool, wg.int8, wg.uint8, wg.int16, wg.uint16, wg.int32, wg.uint32, wg.int64, wg.uint64]
KINDS += [wg.float16, wg.bfloat16, wg.float32, wg.float64]


def awkward(dtype):
    """Numbers around all bounds of integers, halves, random bits, NaN and infinities, of a dtype."""
    rng = np.random.default_rng(0)
    powers = 2.0 ** np.array([0, 7, 8, 15, 16, 31, 32, 53, 63, 64, 100])
    steps = np.array([1 - 2.0**-53, 1 - 2.0**-24, 1 - 2.0**-12, 1, 1 + 2.0**-24, 1 + 2.0**-12, 1.25, 1.7])
    near = (powers[:, None] * steps).reshape(-1)
    near = np.concatenate([near, near + 0.5, near - 0.5, near + 1, near - 1, [0, 0.3, 300.7, np.inf, 1e300]])
    numbers = np.concatenate([near, -near, rng.normal(0, 1e3, 60), rng.normal(0, 1e10, 60), [np.nan, -np.nan]])
    if dtype.is_floating_point:
        with np.errstate(all="ignore"):
            own = numbers.astype(dtype.np)
            bits = rng.integers(0, 256, 400 * dtype.np.itemsize, np.uint8).view(dtype.np)
        return np.concatenate([own, bits])
    if dtype is wg.bool:
        return np.array([True, False, True])
    bits = rng.integers(0, 256, 200 * dtype.np.itemsize, np.uint8).view(dtype.np)
    info = np.iinfo(dtype.np)
    return np.concatenate([bits, np.array([0, 1, info.max, info.min, info.max - 1], dtype.np)])


@pytest.mark.quick(source=[wg.uint16, wg.float32])
@pytest.mark.parametrize("source", KINDS, ids=str)
def test_conversions_have_the_bits_of_eager_ones(source):
    x = wg.tensor(awkward(source))
    one = wg.compile(lambda x: [x.to(k) for k in KINDS])
    for n in (len(x), 37, 1):
        several = wg.compile(lambda x: [x.to(dtype) for dtype in KINDS])
        for got, k in zip(several(x[:n]), KINDS, strict=True):
            want = x[:n].to(k)
            numbers = np.isnan if k.is_floating_point else lambda v: np.zeros(v.shape, bool)
            a, b = got.numpy(), want.numpy()
            same = (a.reshape(-1, 1).view(np.uint8) == b.reshape(-1, 1).view(np.uint8)).all(-1)
            wrong = ~(same | (numbers(a) & numbers(b)))
            assert not wrong.any(), (k, x.numpy()[:n][wrong][:5], a[wrong][:5], b[wrong][:5])
    for v in x[:: max(len(x) // 20, 1)]:
        single = [y.item() for y in one(v)]
        np.testing.assert_array_equal(single, [v.to(k).item() for k in KINDS])


@pytest.mark.slow
def test_constants_are_converted_alike():
    numbers = [300.7, -1.5, 4e9, -4e9, 1e19, -1e19, 3e38, float("inf"), float("nan")]

    def convert(x):
        return [(wg.tensor(v) + x * 0).to(k) for v in numbers for k in KINDS]

    f = wg.compile(lambda x: [wg.tensor(v).to(k).expand(3) == y for v, k, y in x])
    known = [(v, k, wg.tensor([v]).to(k).expand(3)) for v in numbers[:-1] for k in KINDS]
    assert all(bool(y.all()) for y in f(known))
    check(convert, wg.zeros(1), tol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uint32_of_a_float_does_not_depend_on_where_it_stands(dtype):
    x = wg.tensor(np.array([5e9, -3e9, 1e19, np.nan, -1.5], dtype))
    one = [v.to(wg.uint32).item() for v in x]
    assert one == [705032704, 1294967296, 0, 0, 4294967295]
    for n in (2, 7, 40):
        assert x.repeat(n).to(wg.uint32).tolist() == one * n


@pytest.mark.quick(cols=[300])
@pytest.mark.parametrize("cols", [129, 300, 1024, 9001])
def test_long_rows(cols):
    """Rows that no registers hold: what several passes over them leave for each other."""
    x = rand(5, cols)
    x[1] = x[1] * 50
    x[2, cols // 2] = np.nan
    x[3, -1] = np.inf
    x[4] = -np.inf

    def f(x):
        e = (x.tanh() * 3).exp() + 1
        return F.softmax(x, 1), F.log_softmax(x, 1), F.layer_norm(x, (cols,)), e / e.sum(1, keepdim=True)

    with np.errstate(invalid="ignore"):
        check(f, x, tol=5e-6)


@pytest.mark.parametrize("shape", [(3, 40), (3, 300), (300, 40)])
def test_extremes_with_nan_anywhere(shape):
    x = rand(*shape)
    clean = x.numpy()
    f = wg.compile(lambda x: (x.amax(1), x.amin(1), x.amax(0), x.amin(0), x.max()))
    for where in range(0, x.numel(), max(x.numel() // 97, 1)):
        at = np.unravel_index(where, shape)
        x = clean.copy()
        x[at] = np.nan
        expected = x.max(1), x.min(1), x.max(0), x.min(0), x.max()
        for found, wanted in zip(f(wg.tensor(x)), expected, strict=True):
            np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.quick(shape=[(100, 70)], dtype=["f4"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u1", "f2"])
@pytest.mark.parametrize(
    ("shape", "order"),
    [((2, 9, 8, 16), (0, 3, 1, 2)), ((100, 70), (1, 0)), ((33, 17), (1, 0)), ((5, 24, 31), (2, 1, 0)),
     ((9, 16, 50), (0, 2, 1)), ((3, 4, 5, 21), (3, 0, 2, 1)), ((300, 8), (1, 0)), ((8, 300), (1, 0)),
     ((700, 300), (1, 0))],
)  # fmt: skip
def test_turned(shape, order, dtype):
    """Read along one axis, written along another: alone, beside what is not turned, within a border, twice."""
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 100, shape).astype(dtype) for _ in range(2))
    there = x.transpose(order)

    def f(x, y):
        t = x.permute(order)
        return t * 1, t * 2 + y.reshape(t.shape), F.pad(t, (1, 2)), t + x.flatten().reshape(t.shape), t.flip(0) + t

    flat = y.reshape(there.shape), x.reshape(there.shape)
    padded = np.pad(there, [(0, 0)] * (len(shape) - 1) + [(1, 2)])
    twice = there * np.array(2).astype(dtype)
    wanted = [there * 1, twice + flat[0], padded, there + flat[1], there[::-1] + there]
    compiled = wg.compile(f)
    for a, b in zip(compiled(wg.tensor(x), wg.tensor(y)), wanted, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


def test_turned_truth():
    x, y = rand(50, 40) > 0, rand(40, 50) > 0
    check(lambda x, y: (x.t() & y, x.t() == y, x.t().clone()), x, y)


def test_turned_and_changed_in_place():
    x = rand(40, 40)

    def f(x):
        x += x.t() * 2
        return x.t() + 1

    expected = x.numpy() + 2 * x.numpy().T
    found = wg.compile(f)(x)
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(found.numpy(), expected.T + 1, rtol=1e-6)
