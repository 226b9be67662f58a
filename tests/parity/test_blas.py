"""Products and einsum as torch computes them: values, dtypes and gradients."""

from __future__ import annotations

import numpy as np
import pytest

NAMES = "abcdefgh"


def arrays(shapes, kind):
    out = {}
    for k, (name, s) in enumerate(zip(NAMES, shapes)):
        rng = np.random.default_rng(k)
        x = rng.integers(-5, 6, s) if kind == "i" else rng.standard_normal(s)
        out[name] = np.asarray(x + 1j * rng.standard_normal(s) if kind == "c" else x)
    return out


PAIRS = [
    ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)),
    ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
    ((0,), (0,)), ((0, 2, 3), (1, 3, 2)),
]  # fmt: skip

CASES = [
    *[("a @ b", *p) for p in PAIRS],
    *[("T.matmul(a, b)", *p) for p in PAIRS],
    ("T.mm(a, b)", (2, 3), (3, 2)),
    ("a.bmm(b)", (2, 2, 3), (2, 3, 4)),
    ("a.mv(b)", (2, 3), (3,)),
    ("T.dot(a, b)", (3,), (3,)),
    ("T.vdot(a, b)", (3,), (3,)),
    ("T.inner(a, b)", (3, 2, 4), (2, 4)),
    ("T.inner(a, b)", (3, 2, 4), ()),
    ("T.outer(a, b)", (2,), (3,)),
    ("a.ger(b)", (2,), (3,)),
    *[
        (f"{name}{rest})", *shapes)
        for rest in ("", ", beta=2, alpha=3", ", beta=0", ", alpha=0")
        for name, *shapes in [
            ("T.addmm(a, b, c", (2, 4), (2, 3), (3, 4)),
            ("T.addmm(a, b, c", (4,), (2, 3), (3, 4)),
            ("a.addmm(b, c", (), (2, 3), (3, 4)),
            ("T.addmv(a, b, c", (2,), (2, 3), (3,)),
            ("T.addr(a, b, c", (2, 3), (2,), (3,)),
            ("T.addbmm(a, b, c", (2, 3), (4, 2, 3), (4, 3, 3)),
            ("T.baddbmm(a, b, c", (2, 3), (4, 2, 3), (4, 3, 3)),
        ]
    ],
    ("T.tensordot(a, b, dims=2)", (2, 3, 4), (3, 4, 5)),
    ("T.tensordot(a, b, dims=0)", (2,), (3,)),
    ("T.tensordot(a, b, dims=([1, 0], [0, 1]))", (3, 4, 5), (4, 3, 2)),
    ("T.tensordot(a, b, ([1], [0]))", (3, 1), (4, 2)),
    ("T.tensordot(a, b, ([-1], [0]))", (3, 4), (1, 2)),
    ("T.kron(a, b)", (2, 3), (4, 5)),
    ("T.kron(a, b)", (2,), (3, 2)),
    ("a.kron(b)", (0, 2), (3, 2)),
]

EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->ji", (2, 3)),
    ("ij->", (2, 3)), ("ij->j", (2, 3)), ("i,j->ij", (2,), (3,)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (1, 4, 5)), ("...ij,jk->...ik", (2, 3, 4), (4, 5)), ("...", (2, 3)),
    ("...i->...", (2, 3)), ("i...->...", (2, 3)), ("ji,jk", (2, 3), (2, 4)), ("iij->ij", (2, 2, 3)),
    ("iijj->ij", (2, 2, 3, 3)), ("i,i->", (3,), (3,)), ("i,i->i", (3,), (3,)), ("ij,ij->", (2, 3), (2, 3)),
    ("a,b,c->abc", (2,), (3,), (4,)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("ij,jk->ik", (2, 1), (3, 4)),
    ("ij,ij->ij", (2, 1), (1, 3)), ("ij,ij->i", (2, 1), (1, 3)), ("bA,bB->AB", (2, 3), (2, 4)),
    ("Ba,ab", (2, 3), (3, 4)), (",", (), ()), (",i->i", (), (3,)), ("ij,jk,ki->", (2, 3), (3, 4), (4, 2)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij,...->...ij", (2, 3), (4,)), ("...ij->ij", (2, 2, 3)),
    ("ijk,ilm,njm,nlk,abc->", (2, 3, 4), (2, 3, 5), (4, 3, 5), (4, 3, 4), (2, 3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["f", "c", "i"])
@pytest.mark.parametrize(("text", "shapes"), [(t, s) for t, *s in CASES])
def test_products(agree, text, shapes, kind):
    agree(text, dtypes=("float32",) if kind == "f" else (), **arrays(shapes, kind))


@pytest.mark.parametrize("kind", ["f", "c"])
@pytest.mark.parametrize(("equation", "shapes"), [(e, s) for e, *s in EQUATIONS])
def test_einsum(agree, equation, shapes, kind):
    names = ", ".join(NAMES[: len(shapes)])
    agree(f"T.einsum('{equation}', {names})", dtypes=(), tol=10, **arrays(shapes, kind))


def test_einsum_sublists(agree):
    agree("T.einsum(a, [0, 1], b, [1, 2], [0, 2])", **arrays([(2, 3), (3, 4)], "f"))
    agree("T.einsum(a, [..., 1], b, [1, 2], [..., 2])", **arrays([(2, 2, 3), (3, 4)], "f"))


@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 5, 3), (0, 3)])
def test_bilinear(agree, shape):
    other = (*shape[:-1], 2)
    agree("T.nn.functional.bilinear(a, b, c, d)", dtypes=(), **arrays([shape, other, (4, 3, 2), (4,)], "f"))


@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 5, 3), (0, 3), (2, 0, 3)])
def test_linear(agree, shape):
    agree("T.nn.functional.linear(a, b, c)", **arrays([shape, (4, 3), (4,)], "f"))
    agree("T.nn.functional.linear(a, b)", **arrays([shape, (4, 3)], "c"), dtypes=())
