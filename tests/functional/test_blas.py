"""Products against NumPy, their derivatives against difference quotients, and what goes wrong with them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, ShapeError
from wengert.functional.blas import bilinear, linear
from wengert.functional.einsum import _exact_order, _greedy_order
from wengert.graph.handle import wrap
from wengert.ops.testpoints import complexes, floats
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

NAMES = "abcdefgh"


def arrays_of(shapes, kind="f"):
    if kind == "i":
        return [np.random.default_rng(k).integers(-5, 6, s) for k, s in enumerate(shapes)]
    make = complexes if kind == "c" else floats
    return [make(*s, seed=k) for k, s in enumerate(shapes)]


def ours(text, xs):
    return eval(text, {"wg": wg, "np": np, "linear": linear, "bilinear": bilinear, **dict(zip(NAMES, xs))})


def same(got, want, tol=1e-12):
    assert got._value.shape == np.shape(want)
    assert got._value.dtype == np.asarray(want).dtype
    np.testing.assert_allclose(got._value, want, tol, tol)


# what, in NumPy, shapes
PRODUCTS = [
    ("a @ b", "a @ b", (2, 3), (3, 4)),
    ("a @ b", "a @ b", (3,), (3,)),
    ("a @ b", "a @ b", (3,), (3, 4)),
    ("a @ b", "a @ b", (2, 3), (3,)),
    ("a @ b", "a @ b", (5, 2, 3), (3,)),
    ("a @ b", "a @ b", (3,), (5, 3, 2)),
    ("a @ b", "a @ b", (5, 2, 3), (3, 4)),
    ("a @ b", "a @ b", (5, 1, 2, 3), (4, 3, 2)),
    ("a @ b", "a @ b", (0, 3), (3, 2)),
    ("a @ b", "a @ b", (2, 0), (0, 3)),
    ("a @ b", "a @ b", (5, 2, 0), (0, 3)),
    ("a @ b", "a @ b", (0, 2, 3), (1, 3, 2)),
    ("wg.mm(a, b)", "a @ b", (2, 3), (3, 4)),
    ("wg.bmm(a, b)", "a @ b", (2, 2, 3), (2, 3, 4)),
    ("wg.mv(a, b)", "a @ b", (2, 3), (3,)),
    ("wg.dot(a, b)", "a @ b", (3,), (3,)),
    ("wg.dot(a, b)", "a @ b", (0,), (0,)),
    ("wg.vdot(a, b)", "np.vdot(a, b)", (3,), (3,)),
    ("wg.inner(a, b)", "np.inner(a, b)", (3, 2, 4), (2, 4)),
    ("wg.inner(a, b)", "np.inner(a, b)", (3,), (3,)),
    ("wg.inner(a, b)", "a * b", (3,), ()),
    ("wg.outer(a, b)", "np.outer(a, b)", (2,), (3,)),
    ("wg.outer(a, b)", "np.outer(a, b)", (0,), (3,)),
    ("wg.addmm(a, b, c)", "a + b @ c", (4,), (2, 3), (3, 4)),
    ("wg.addmm(a, b, c, beta=2, alpha=3)", "2 * a + 3 * (b @ c)", (2, 4), (2, 3), (3, 4)),
    ("wg.addmm(a, b, c, beta=0)", "b @ c", (2, 4), (2, 3), (3, 4)),
    ("wg.addmv(a, b, c, beta=2)", "2 * a + b @ c", (2,), (2, 3), (3,)),
    ("wg.addr(a, b, c, alpha=2)", "a + 2 * np.outer(b, c)", (2, 3), (2,), (3,)),
    ("wg.addbmm(a, b, c)", "a + (b @ c).sum(0)", (2, 4), (5, 2, 3), (5, 3, 4)),
    ("wg.baddbmm(a, b, c, beta=2)", "2 * a + b @ c", (2, 4), (5, 2, 3), (5, 3, 4)),
    ("wg.tensordot(a, b, 2)", "np.tensordot(a, b, 2)", (2, 3, 4), (3, 4, 5)),
    ("wg.tensordot(a, b, 0)", "np.tensordot(a, b, 0)", (2,), (3,)),
    ("wg.tensordot(a, b, ([1, 0], [0, -2]))", "np.tensordot(a, b, ([1, 0], [0, -2]))", (3, 4, 5), (4, 3, 2)),
    ("wg.tensordot(a, b, ([1], [0]))", "np.outer(a[:, 0], b.sum(0))", (3, 1), (4, 2)),
    ("wg.kron(a, b)", "np.kron(a, b)", (2, 3), (4, 5)),
    ("wg.kron(a, b)", "np.kron(a, b)", (2,), (3, 2)),
    ("wg.kron(a, b)", "np.kron(a, b)", (), (3,)),
    ("linear(a, b, c)", "a @ b.T + c", (5, 3), (4, 3), (4,)),
    ("linear(a, b, c)", "a @ b.T + c", (2, 5, 3), (4, 3), (4,)),
    ("linear(a, b, c)", "a @ b.T + c", (3,), (4, 3), (4,)),
    ("linear(a, b)", "a @ b.T", (0, 3), (4, 3)),
    ("linear(a, b, c)", "a @ b + c", (5, 3), (3,), ()),
    ("bilinear(a, b, c, d)", "np.einsum('ni,kij,nj->nk', a, c, b) + d", (5, 3), (5, 2), (4, 3, 2), (4,)),
]
IDS = [f"{text}:{'x'.join(map(str, shapes))}" for text, _, *shapes in PRODUCTS]


@pytest.mark.parametrize(("text", "meaning", "shapes"), [(t, m, s) for t, m, *s in PRODUCTS], ids=IDS)
def test_products(text, meaning, shapes):
    for kind in "fci":
        xs = arrays_of(shapes, kind)
        same(ours(text, [wrap(x) for x in xs]), ours(meaning, xs))


@pytest.mark.quick(text=[text for text, *_ in PRODUCTS[::4]])
@pytest.mark.parametrize(("text", "shapes"), [(t, s) for t, _, *s in PRODUCTS], ids=IDS)
def test_product_derivatives(text, shapes):
    for kind in "fc":
        p = Point(lambda *xs: [ours(text, xs)], arrays_of(shapes, kind))
        check_first_order(p)
        check_second_order(p)
        check_vmap(p.f, p.arrays)


# equation, shapes
EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ba", (2, 3)),
    ("i,j->ij", (2,), (3,)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (1, 4, 5)),
    ("...ij,jk->...ik", (2, 3, 4), (4, 5)),
    ("...", (2, 3)),
    ("i...->...i", (2, 3)),
    ("ji,jk", (2, 3), (2, 4)),
    ("iij->ij", (2, 2, 3)),
    ("iijj->ij", (2, 2, 3, 3)),
    ("iii->i", (3, 3, 3)),
    ("i,i->", (3,), (3,)),
    ("i,i->i", (3,), (3,)),
    ("a,b,c->abc", (2,), (3,), (4,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,jk,ki->", (2, 3), (3, 4), (4, 2)),
    ("bA,bB->AB", (2, 3), (2, 4)),
    ("Ba,ab", (2, 3), (3, 2)),
    (",", (), ()),
    (",i->i", (), (3,)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    (" i j , j k -> i k ", (2, 3), (3, 4)),
    ("ij,i->", (0, 3), (0,)),
    ("ijk,ilm,njm,nlk,abc->", (2, 3, 4), (2, 3, 5), (4, 3, 5), (4, 3, 4), (2, 3, 2)),
    ("ab,cd,ef,ba,dc,fe,g->g", (2, 3), (2, 3), (2, 3), (3, 2), (3, 2), (3, 2), (4,)),
]


@pytest.mark.parametrize(("equation", "shapes"), [(e, s) for e, *s in EQUATIONS], ids=[e for e, *_ in EQUATIONS])
def test_einsum(equation, shapes):
    for kind in "fci":
        xs = arrays_of(shapes, kind)
        same(wg.einsum(equation, *[wrap(x) for x in xs]), np.einsum(equation, *xs), 1e-11)
    p = Point(lambda *ts: [wg.einsum(equation, *ts)], arrays_of(shapes))
    check_first_order(p)
    if len(shapes) < 5:
        check_second_order(p)
        check_vmap(p.f, p.arrays)


def test_einsum_broadcasts_sizes_of_one():
    a, b = floats(2, 1), floats(3, 4)
    same(wg.einsum("ij,jk->ik", wrap(a), wrap(b)), np.repeat(a, 3, 1) @ b)
    c = floats(1, 3)
    same(wg.einsum("ij,ij->ij", wrap(a), wrap(c)), a * c)
    same(wg.einsum("ij,ij->i", wrap(a), wrap(c)), (a * c).sum(1))


def test_einsum_sums_an_ellipsis_that_the_result_leaves_out():
    a = floats(4, 2, 3)
    same(wg.einsum("...ij->ij", wrap(a)), a.sum(0))


def test_einsum_other_calling_forms():
    a, b = floats(2, 3), floats(3, 4)
    x, y = wrap(a), wrap(b)
    same(wg.einsum(x, [0, 1], y, [1, 2], [0, 2]), a @ b)
    same(wg.einsum(x, [0, 1], y, [1, 2]), a @ b)
    same(wg.einsum(x, [..., 1], y, [1, 2], [..., 2]), a @ b)
    same(wg.einsum("ij,jk", [x, y]), a @ b)


def test_einsum_result_is_a_new_node():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    assert wg.einsum("i->i", x) is not x


def cost(order, sets, out, sizes):
    """Multiplications of an order of pairs."""
    live, total = dict(enumerate(sets)), 0
    for k, (i, j) in enumerate(order):
        both = live.pop(i) | live.pop(j)
        total += np.prod([sizes[a] for a in both], dtype=int)
        live[len(sets) + k] = both & out.union(*live.values())
    return total


def test_order_of_a_chain_is_the_cheapest():
    """Against all orders: (ij,jk,kl,lm->im) with sizes that make most of them poor."""
    sets = [frozenset(t) for t in ("ij", "jk", "kl", "lm")]
    sizes, out = dict(zip("ijklm", (10, 100, 5, 50, 2))), frozenset("im")

    def orders(live, n):
        if len(live) == 1:
            yield []
        for i, j in itertools.combinations(live, 2):
            for rest in orders([k for k in live if k not in (i, j)] + [n], n + 1):
                yield [(i, j), *rest]

    best = min(cost(o, sets, out, sizes) for o in orders([0, 1, 2, 3], 4))
    assert cost(_exact_order(sets, out, sizes), sets, out, sizes) == best
    assert cost(_greedy_order(sets, out, sizes), sets, out, sizes) <= 5 * best


@pytest.mark.parametrize("dtype", [wg.float16, wg.bfloat16])
def test_half_precision_sums_in_single_and_rounds_once(dtype):
    a, b = floats(3, 50).astype(dtype.np), floats(50, 2).astype(dtype.np)
    got = wg.matmul(wrap(a), wrap(b))
    want = (a.astype(np.float32) @ b.astype(np.float32)).astype(dtype.np)
    assert got.dtype is dtype
    assert np.array_equal(got._value, want)


def test_ignored_input_may_be_nan():
    assert not wg.isnan(wg.addmm(wg.tensor(wg.nan), wg.ones(2, 2), wg.ones(2, 2), beta=0)).any()


def test_outer_promotes():
    assert wg.outer(wg.ones(2, dtype=wg.int64), wg.ones(2)).dtype is wg.float32


def test_in_place():
    x = wg.ones(2, 2)
    y = x.addmm_(wg.ones(2, 3), wg.ones(3, 2))
    assert y is x
    assert x.tolist() == [[4.0, 4.0], [4.0, 4.0]]


def test_linear_keeps_the_graph_open():
    """A linear layer is one box, which opens into a product and a sum."""
    w, b = wg.ones(4, 3, requires_grad=True), wg.zeros(4, requires_grad=True)
    out = linear(wg.ones(2, 3), w, b)
    assert out.node.name == "linear" and out.node.inputs[1:] == (w.node, b.node)
    body = out.node.attrs["graph"]
    assert [n.name for n in body.nodes] == ["permute", "matmul", "expand", "add"]
    assert out.node.origin.startswith("test_blas.py")
    (gw,) = wg.autograd.grad(out.sum(), [w], create_graph=True)
    assert gw.tolist() == [[2.0] * 3] * 4


def test_linear_only_needs_what_requires_grad():
    for flags in itertools.product((False, True), repeat=3):
        x, w, b = (wrap(a) for a in (floats(2, 3), floats(4, 3), floats(4)))
        for t, flag in zip((x, w, b), flags):
            t.requires_grad_(flag)
        out = linear(x, w, b)
        assert out.requires_grad == any(flags)
        if any(flags):
            out.sum().backward()
            assert [t.grad is not None for t in (x, w, b)] == list(flags)


ERRORS = [
    ("wg.ones(2, 3) @ wg.ones(2, 3)", ShapeError, r"inner sizes differ: f32\[2,3\] @ f32\[2,3\]\. Perhaps y\.mT"),
    ("wg.ones(3) @ wg.ones(4)", ShapeError, "inner sizes differ"),
    ("wg.tensor(1.0) @ wg.ones(3)", ShapeError, "at least one dimension"),
    ("wg.ones(2, 2, 3) @ wg.ones(3, 3, 2)", ShapeError, "do not broadcast"),
    ("wg.ones(2, 3) @ wg.ones(3, 2, dtype=wg.float64)", DTypeError, r"one dtype: f32\[2,3\], f64\[3,2\]"),
    ("wg.matmul(wg.ones(2, 2), 3)", DTypeError, "needs tensors: int"),
    ("wg.ones(2, 2, dtype=wg.bool) @ wg.ones(2, 2, dtype=wg.bool)", DTypeError, "bool"),
    ("wg.mm(wg.ones(2), wg.ones(2))", ShapeError, "2-d and 2-d"),
    ("wg.bmm(wg.ones(2, 2), wg.ones(2, 2))", ShapeError, "3-d and 3-d"),
    ("wg.dot(wg.ones(2, 2), wg.ones(2))", ShapeError, "1-d and 1-d"),
    ("wg.outer(wg.ones(2, 2), wg.ones(2))", ShapeError, "needs vectors"),
    ("wg.addmm(wg.ones(3, 4), wg.ones(2, 3), wg.ones(3, 4))", ShapeError, "do not broadcast"),
    ("wg.addmm(wg.ones(5, 2, 4), wg.ones(2, 3), wg.ones(3, 4))", ShapeError, "does not broadcast to the product"),
    ("wg.tensordot(wg.ones(3, 4), wg.ones(3, 2), ([1], [1]))", ShapeError, "sizes differ"),
    ("wg.tensordot(wg.ones(3, 4), wg.ones(3, 2), 3)", ArgumentError, "out of range"),
    ("wg.tensordot(wg.ones(3), wg.ones(3), ([0], []))", ArgumentError, "pair up"),
    ("linear(wg.ones(5, 3), wg.ones(4, 2))", ShapeError, "last size of the weight"),
    ("linear(wg.ones(5, 3), wg.ones(4, 3), wg.ones(3))", ShapeError, "bias does not fit"),
    ("bilinear(wg.ones(5, 3), wg.ones(5, 3), wg.ones(4, 3, 2))", ShapeError, "do not fit"),
    ("wg.einsum('ij,jk', wg.ones(2, 3), wg.ones(2, 3))", ShapeError, "'j' has several sizes: 3 and 2"),
    ("wg.einsum('ii->i', wg.ones(2, 3))", ShapeError, "repeats in operand 0"),
    ("wg.einsum('ij', wg.ones(2))", ShapeError, "operand 0 has 1 dimensions"),
    ("wg.einsum('ij...', wg.ones(2))", ShapeError, "besides '...'"),
    ("wg.einsum('ij->ik', wg.ones(2, 3))", ArgumentError, "'k' of the result is in no operand"),
    ("wg.einsum('ij->ii', wg.ones(2, 3))", ArgumentError, "appears twice"),
    ("wg.einsum('ij,', wg.ones(2, 3))", ArgumentError, "2 terms for 1 operands"),
    ("wg.einsum('i1', wg.ones(2, 3))", ArgumentError, "unexpected '1'"),
    ("wg.einsum('......', wg.ones(2, 3))", ArgumentError, "more than one ellipsis"),
    ("wg.einsum('i,i', wg.ones(2), wg.ones(2, dtype=wg.int64))", DTypeError, "one dtype"),
    ("wg.einsum('i')", ArgumentError, "operands must be tensors"),
]


@pytest.mark.parametrize(("text", "kind", "match"), ERRORS, ids=[t for t, *_ in ERRORS])
def test_errors(text, kind, match):
    with pytest.raises(kind, match=match):
        ours(text, [])


@pytest.mark.parametrize("equation", ["ii->i", "ij->ji", "ij->ij", "...->..."])
def test_einsum_of_one_operand_stays_what_it_was_when_that_is_written_over(equation: str) -> None:
    x = wg.arange(9.0).reshape(3, 3)
    y = wg.einsum(equation, x)
    before = y.tolist()
    x += 1
    assert y.tolist() == before
    y *= 2
    assert x.tolist() == (wg.arange(9.0).reshape(3, 3) + 1).tolist()


def test_einsum_is_one_call_in_the_graph() -> None:
    x, y = wg.ones(2, 3, requires_grad=True), wg.ones(3, 4)
    assert wg.einsum("ij,jk->ik", x, y).grad_fn.name == "einsum"
