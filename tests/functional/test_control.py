"""Control flow: values are those of Python loops, derivatives those of the loops unrolled."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

import wengert as wg
from wengert.errors import ShapeError
from wengert.graph.handle import wrap
from wengert.runtime import results
from wengert.testing.modes import all_modes, grad, mapped, normal, push, same, tensors, values
from wengert.transform.flat import jvp_flat, vmap_flat

F64 = np.dtype(np.float64)


def babylonian(a, x):
    return wg.while_loop(lambda x: abs(x * x - a) > 1e-3, lambda x: (x + a / x) * 0.5, (x,))


# -- cond and switch -------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [2.0, -2.0])
def test_cond_takes_a_branch(x):
    all_modes(
        lambda x, y: wg.cond(x.sum() > 0, lambda x, y: x * y, lambda x, y: x - y, (x, y)),
        [x, 0.5],
        [1.0, 3.0],
    )


def test_a_python_bool_chooses_at_once_but_both_branches_are_checked():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    with wg.record() as r:
        y = wg.cond(True, lambda x: x.exp(), lambda x: x, (x,))
    assert "cond" not in [n.name for n in r]
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]), rtol=1e-6)
    with pytest.raises(ShapeError, match="output 0 differs in shape"):
        wg.cond(True, lambda x: x, lambda x: x.sum(), (x,))


def test_calling_forms_of_cond():
    x, y = wg.tensor(1.0), wg.tensor(2.0)
    add, sub = (lambda x, y: x + y), (lambda x, y: x - y)
    p = wg.tensor(True)
    for got in (
        wg.cond(p, add, sub, (x, y)),
        wg.cond(p, add, sub, [x, y]),
        wg.cond(p, add, sub, x, y),
        wg.cond(p, add, sub, operands=(x, y)),
        wg.cond(wg.tensor([True]), lambda: add(x, y), lambda: sub(x, y)),
    ):
        assert got.item() == 3.0

    def first(d):
        return {"s": d["a"] + 1, "t": (None, d["b"])}

    def second(d):
        return {"s": d["b"], "t": (None, d["a"])}

    nested = wg.cond(p, first, second, ({"a": x, "b": y},))
    assert nested["s"].item() == 2.0
    assert nested["t"][0] is None
    assert nested["t"][1].item() == 2.0


def test_numbers_take_the_dtype_of_the_other_branch():
    out = wg.cond(wg.tensor(False), lambda x: x, lambda x: 0, (wg.tensor(1.5, dtype=wg.float64),))
    assert (out.dtype, out.item()) == (wg.float64, 0.0)
    assert wg.cond(wg.tensor(True), lambda: 1, lambda: 2).dtype == wg.int64


@pytest.mark.parametrize("mode", [grad, push, lambda f: grad(grad(f))])
def test_the_branch_not_taken_leaks_no_nan(mode):
    def f(x):
        return wg.cond(x > 0, lambda x: x.sqrt() + x.log(), lambda x: x * 3, (x,))

    x = [4.0, -1.0, 0.0, 9.0]
    got = values(mapped(mode(f))(*tensors(x)))[0]
    want = [values(mode(f)(*tensors(v)))[0] for v in x]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want)
    np.testing.assert_allclose(values(mode(mapped(f))(*tensors(x)))[0].shape, (4,))
    assert np.isfinite(values(grad(mapped(f))(*tensors(x)))[0]).all()


def test_a_loop_in_a_branch_not_taken_need_not_end():
    def f(x):
        def halve(x):
            return wg.while_loop(lambda x: abs(x - 1) > 0.5, lambda x: (x * 0.5 + 0.5,), (x,))[0]

        return wg.cond(x > 0, halve, lambda x: x, (x,))

    def forever(x):
        """For a negative x counting down does not end."""

        def count_down(x):
            return wg.while_loop(lambda x: x != 0, lambda x: (x - 1,), (x,))[0]

        return wg.cond(x > 0, count_down, lambda x: x, (x,))

    assert np.isfinite(values(grad(mapped(f))(*tensors([8.0, -3.0])))[0]).all()
    assert values(mapped(forever)(*tensors([3.0, -1.5])))[0].tolist() == [0.0, -1.5]
    assert values(mapped(forever)(*tensors([-2.5, -1.5])))[0].tolist() == [-2.5, -1.5]


def test_a_mapped_axis_of_no_elements():
    for f in (babylonian, lambda a, x: wg.cond(a > x, lambda: a, lambda: x)):
        assert values(mapped(f)(*tensors(np.zeros(0), np.zeros(0))))[0].shape == (0,)
        assert values(grad(mapped(f))(*tensors(np.zeros(0), np.zeros(0))))[0].shape == (0,)


@pytest.mark.parametrize("index", [-1, 0, 1, 2, 5])
def test_switch(index):
    fs = [lambda x: x * 2, lambda x: x.exp(), lambda x: x.sin()]
    chosen = fs[min(max(index, 0), 2)]
    x = np.array([0.3, 0.7])
    all_modes(lambda x: wg.switch(wg.tensor(index), fs, (x,)), x)
    np.testing.assert_allclose(wg.switch(index, fs, wrap(x)).numpy(), chosen(wrap(x)).numpy())


def test_switch_by_a_mapped_index():
    fs = [lambda x: x * 2, lambda x: x.log(), lambda x: x.sin()]

    def f(k, x):
        return vmap_flat(lambda k, x: [wg.switch(k, fs, (x,))], (k, x), (0, 0))

    k, x = wg.tensor([2, 0, 1, 9]), np.array([-1.0, -2.0, 3.0, 0.5])
    same(lambda x: f(k, x), lambda x: wg.stack([x[0].sin(), x[1] * 2, x[2].log(), x[3].sin()]), x)
    one = wrap(x[1:2])
    assert values(vmap_flat(lambda k, x: [wg.switch(k, fs[:1], (x,))], (k[:1], one), (0, 0)))[0].tolist() == [-4.0]


# -- scan ------------------------------------------------------------------------------------------


def test_scan_of_nested_containers():
    def f(c, x):
        new = {"a": c["a"] + x[0], "b": [c["b"][0] * x[1]["z"]]}
        return new, {"y": c["a"], "none": None}

    carry = {"a": wg.tensor(1.0), "b": [wg.tensor([1.0, 2.0])]}
    last, ys = wg.scan(f, carry, (wg.tensor([1.0, 2.0]), {"z": wg.tensor([3.0, 4.0])}))
    assert last["a"].item() == 4.0
    assert last["b"][0].tolist() == [12.0, 24.0]
    assert ys["y"].tolist() == [1.0, 2.0]
    assert ys["none"] is None


def test_scan_without_slices_and_without_steps():
    assert wg.scan(lambda c, _: (c * 2, c), wg.tensor(1), length=4)[1].tolist() == [1, 2, 4, 8]
    x = wg.ones(2, requires_grad=True)
    last, sums = wg.scan(lambda c, v: (c * v, c.sum()), x, wg.zeros(0, 2))
    assert sums.shape == (0,)
    last.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    _, ys = wg.scan(lambda c, v: (c * v, (c, 1)), x, wg.ones(0, 2), reverse=True)
    assert (ys[0].shape, ys[1].shape, ys[1].dtype) == ((0, 2), (0,), wg.int64)


def test_scan_results_share_no_memory_with_its_operands():
    x = wg.tensor([1.0, 2.0])
    same_carry, _ = wg.scan(lambda c, _: (c, None), x, length=2)
    same_carry.add_(1)
    (same_loop,) = wg.while_loop(lambda c: c.sum() < 0, lambda c: (c,), (x,))
    same_loop.add_(1)
    wg.cond(wg.tensor(True), lambda x: x, lambda x: x + 1, (x,)).add_(1)
    constant = wg.ones(2)
    wg.cond(wg.tensor(True), lambda: constant, lambda: constant).add_(1)
    a, b = wg.cond(wg.tensor(True), lambda x: (x * 2,) * 2, lambda x: (x, x), (x,))
    a.add_(1)
    assert x.tolist() == [1.0, 2.0]
    assert constant.tolist() == [1.0, 1.0]
    assert b.tolist() == [2.0, 4.0]


def test_scan_maps_over_any_axis():
    def f(c, xs, w):
        return list(wg.scan(lambda c, x: ((c * w + x).sin(), c), c, xs))

    c, xs, w = normal(3), normal(4, 3, seed=1), normal(seed=2)
    want = [values(f(*tensors(ci, xi, w))) for ci, xi in zip(c, xs.T, strict=True)]
    got = values(vmap_flat(f, tensors(c, xs, w), (0, 1, None)))
    np.testing.assert_allclose(got[0], [v[0] for v in want])
    np.testing.assert_allclose(got[1], [v[1] for v in want])
    only_w = values(vmap_flat(f, tensors(c[0], xs[:, 0], normal(5)), (None, None, 0)))
    assert [v.shape for v in only_w] == [(5,), (5, 4)]


def test_checkpointing_of_no_steps():
    assert wg.scan(lambda c, x: (c, x), wg.tensor(1.0), wg.zeros(0), checkpoint=True)[1].shape == (0,)


def test_integer_and_bool_carries_go_along():
    def f(x, w):
        def body(c, v):
            count, flag, h = c
            return (count + 1, ~flag, (h * v).sin()), (count, h)

        (count, flag, h), (counts, hs) = wg.scan(body, (wg.tensor(0), wg.tensor(True), x), w)
        assert (count.aval.dtype, flag.aval.dtype, counts.aval.dtype) == (np.int64, np.bool_, np.int64)
        return h * count, hs

    all_modes(f, 0.5, normal(3))


@pytest.mark.quick(n=[10])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("n", "checkpoint"), [(9, True), (10, 4), (3, 5), (1, True), (7, 1)])
def test_checkpointing_changes_no_number(n, checkpoint, reverse):
    def plain(c, xs, w):
        return list(wg.scan(lambda c, x: ((c * w + x).sin(), c * x), c, xs, reverse=reverse))

    def saving(c, xs, w):
        return list(wg.scan(lambda c, x: ((c * w + x).sin(), c * x), c, xs, reverse=reverse, checkpoint=checkpoint))

    same(saving, plain, 0.3, normal(n), 1.2)


@pytest.mark.slow
def test_long_scans_have_bounded_memory():
    x = wg.tensor(np.full(64, 0.5), requires_grad=True)

    def peak(n, checkpoint=False):
        gc.collect()
        results.release()  # memory kept from before would not be counted
        tracemalloc.start()
        y, _ = wg.scan(lambda c, _: ((c * 0.999).sin() + x * 1e-3, None), x, length=n, checkpoint=checkpoint)
        y.sum().backward()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    # The least of three: whatever else allocates once in a while (an import, a cache) is not the scan's.
    all_kept = min(peak(2_500) for _ in range(3))
    few_kept = min(peak(10_000, True) for _ in range(3))
    assert few_kept < all_kept / 4
    assert np.isfinite(x.grad.numpy()).all()


def test_a_long_while_has_a_reverse_mode():
    x = wg.tensor(1.0, dtype=wg.float64, requires_grad=True)
    y = wg.while_loop(lambda i, c: i < 10_000, lambda i, c: (i + 1, c * 0.9999), (0, x))[1]
    y.backward()
    assert x.grad.item() == pytest.approx(0.9999**10_000, rel=1e-9)


# -- while and fori --------------------------------------------------------------------------------


def test_while_loop_calling_forms():
    assert wg.while_loop(lambda i: i < 5, lambda i: i + 1, (0,))[0].item() == 5
    assert wg.while_loop(lambda i: i < 5, lambda i: i + 1, wg.tensor(0)).item() == 5
    assert wg.while_loop(lambda i: i < 5, lambda i: [i + 1], [0])[0].item() == 5
    state = wg.while_loop(
        lambda s: s["i"] < 3, lambda s: {"i": s["i"] + 1, "x": (s["x"][0] * 2,)}, {"i": 0, "x": (1.0,)}
    )
    assert (state["i"].item(), state["x"][0].item()) == (3, 8.0)


def test_jvp_of_grad_of_a_while_with_vectors():
    """Power iteration until it has settled; the eigenvalue's derivatives are v v^T, and so on."""

    def largest(a):
        start = wg.tensor(np.array([1.0, 0.3, -0.2]))

        def body(i, v, old):
            w = a @ v
            return i + 1, w / (w * w).sum().sqrt(), v

        _, v, _ = wg.while_loop(lambda i, v, old: ((v - old) ** 2).sum() > 1e-24, body, (0, start, start * 0))
        return v @ (a @ v)

    m = normal(3, 3)
    m = m @ m.T + np.diag([5.0, 1.0, 0.0])
    w, vs = np.linalg.eigh(m)
    v, t = vs[:, -1], normal(3, 3, seed=1)
    t = t + t.T
    (g,) = values(grad(largest)(*tensors(m)))
    np.testing.assert_allclose((g + g.T) / 2, np.outer(v, v), atol=1e-9)
    turn = sum(vs[:, k] * (vs[:, k] @ t @ v) / (w[-1] - w[k]) for k in range(2))
    moved = values(jvp_flat(grad(largest), tensors(m), tensors(t))[1])[0]
    np.testing.assert_allclose((moved + moved.T) / 2, np.outer(turn, v) + np.outer(v, turn), atol=1e-8)


@pytest.mark.parametrize("bounds", [(0, 4), (2, 5), (3, 3), (5, 2), (-2, 1)])
@pytest.mark.parametrize("symbolic", [False, True])
def test_fori_loop(bounds, symbolic):
    ends = [wg.tensor(b, dtype=wg.int32) for b in bounds] if symbolic else bounds

    def f(x):
        return wg.fori_loop(*ends, lambda i, c: {"x": (c["x"] * (i + 1)).sin()}, {"x": x})["x"]

    def unrolled(x):
        x = x * 1
        for i in range(*bounds):
            x = (x * (i + 1)).sin()
        return x

    same(f, unrolled, [0.3, 0.7])


def test_map_loop():
    all_modes(
        lambda xs, w: wg.map_loop(lambda x: {"a": x @ w, "b": x.sin()}, xs)["a"],
        normal(3, 2),
        normal(2, seed=1),
    )


@pytest.mark.quick(n=[1, 5])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(n, reverse):
    x = normal(2, n)
    order = slice(None, None, -1 if reverse else 1)
    got = wg.associative_scan(lambda a, b: a * b, wrap(x), dim=1, reverse=reverse).numpy()
    np.testing.assert_allclose(got, np.cumprod(x[:, order], 1)[:, order])
    a, b = normal(n, seed=1), normal(n, seed=2)

    def linear(p, q):
        """Composition of affine functions, which does not commute."""
        return {"a": p["a"] * q["a"], "b": p["b"] * q["a"] + q["b"]}

    def recurrence(a, b):
        return wg.associative_scan(linear, {"a": a, "b": b}, reverse=reverse)["b"]

    def unrolled(a, b):
        h, ys = b[0] * 0, []
        for i in range(n)[order]:
            h = h * a[i] + b[i]
            ys.append(h)
        return wg.stack(ys[order])

    same(recurrence, unrolled, a, b)


# -- random numbers --------------------------------------------------------------------------------


def test_draws_differ_from_step_to_step_and_repeat_with_the_seed():
    def noise():
        wg.manual_seed(3)
        scanned = wg.scan(lambda c, _: (c, wg.randn(2) + wg.rand(2)), wg.zeros(()), length=4)[1]
        looped = wg.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 10 + wg.rand(()).round()), (0, 0.0))[1]
        after = wg.rand(2)
        return scanned.numpy(), looped.numpy(), after.numpy()

    first, second = noise(), noise()
    assert len(np.unique(first[0])) == 8
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_reverse_sweep_sees_the_draws_of_the_forward_pass():
    x = wg.tensor(1.0, dtype=wg.float64, requires_grad=True)

    def body(c, _):
        r = wg.rand((), dtype=wg.float64) + 0.5
        return c * r, r

    y, rs = wg.scan(body, x, length=5)
    y.backward()
    assert x.grad.item() == pytest.approx(np.prod(rs.detach().numpy()))
    nested, _ = wg.scan(lambda c, _: wg.scan(body, c, length=2), x, length=3)
    (g,) = wg.autograd.grad(nested, x)
    assert g.item() == pytest.approx(nested.item())


def test_draws_under_vmap():
    def f(x):
        return wg.scan(lambda c, _: (c, wg.cond(c > 0, lambda: wg.rand(()), lambda: c)), x, length=3)[1]

    x = wg.tensor([1.0, 2.0, -1.0])
    alike = wg.func.vmap(f, randomness="same")(x).numpy()
    assert (alike[0] == alike[1]).all()
    assert len(np.unique(alike[0])) == 3
    assert (alike[2] == -1).all()
    assert len(np.unique(wg.func.vmap(f, randomness="different")(x).numpy()[:2])) == 6
    with pytest.raises(RuntimeError, match="random draw"):
        wg.func.vmap(f)(x)


# -- dtypes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [wg.float16, wg.bfloat16, wg.float32, wg.complex64, wg.complex128])
def test_every_inexact_dtype(dtype):
    x = wg.tensor([0.5, 0.25]).to(dtype).requires_grad_()
    last, ys = wg.scan(lambda c, v: (c * v, c), x, wg.ones(3, 2, dtype=dtype) * 0.5)
    (last,) = wg.while_loop(lambda c: abs(c).sum() > 0.05, lambda c: c * 0.5, (last,))
    out = wg.cond(abs(last).sum() > 0, lambda c: c * 2, lambda c: c, (last,))
    (g,) = wg.autograd.grad(out, x, wg.ones(2, dtype=dtype))
    assert (last.dtype, ys.dtype, out.dtype, g.dtype) == (dtype,) * 4
    np.testing.assert_allclose(g.to(wg.complex128).numpy(), np.full(2, 0.125 * 0.5 * 2), rtol=1e-2)
