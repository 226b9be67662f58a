"""Losses and distances beside torch."""

from __future__ import annotations

import numpy as np
import pytest

HALF = ("float32", "float16", "bfloat16")
RNG = np.random.default_rng(0)
REDUCTIONS = ("none", "mean", "sum")


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def unit(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).uniform(0.05, 0.95, shape)


def signs(*shape):
    return np.where(RNG.uniform(size=shape) < 0.5, -1.0, 1.0)


def ints(high, *shape, seed=0):
    return np.random.default_rng([seed, high, *shape]).integers(0, high, shape)


PAIRS = [
    "F.mse_loss(x, y, {r})", "F.l1_loss(x, y, {r})", "F.smooth_l1_loss(x, y, {r})",
    "F.smooth_l1_loss(x, y, {r}, beta=0.3)", "F.smooth_l1_loss(x, y, {r}, beta=0)", "F.huber_loss(x, y, {r})",
    "F.huber_loss(x, y, {r}, delta=0.4)", "F.mse_loss(x, y, {r}, weight=w)", "F.l1_loss(x, y, {r}, weight=w)",
    "F.huber_loss(x, y, {r}, weight=w)", "F.poisson_nll_loss(x, w, {r})",
    "F.poisson_nll_loss(w, y, {r}, log_input=False)", "F.poisson_nll_loss(x, w * 3, {r}, full=True)",
    "F.soft_margin_loss(x, constt, {r})", "F.binary_cross_entropy_with_logits(x, w, {r})",
    "F.binary_cross_entropy_with_logits(x, w, constt, {r})", "F.kl_div(x, w, reduction='sum')",
    "F.kl_div(x, w, reduction='none')", "F.kl_div(x, w, reduction='batchmean')",
    "F.kl_div(x, y, reduction='sum', log_target=True)", "F.gaussian_nll_loss(x, y, w, {r})",
    "F.gaussian_nll_loss(x, y, w, full=True, eps=0.5, {r})", "F.gaussian_nll_loss(x, y, 0.7, {r})",
    "F.binary_cross_entropy(w, w * 0.9, {r})", "F.binary_cross_entropy(w, w * 0.9, constt, {r})",
]  # fmt: skip


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 2), (0, 3)])
@pytest.mark.parametrize("r", REDUCTIONS)
@pytest.mark.parametrize("text", PAIRS)
def test_elementwise(agree, text, r, shape):
    if "{r}" not in text and r != "none":
        return
    text = text.replace("{r}", f"reduction={r!r}")
    used = {"x": normal(*shape), "y": normal(*shape, seed=1), "w": unit(*shape), "constt": signs(*shape)}
    agree(text, ("float32",) if shape == (0, 3) else HALF, **used, tol=2)


@pytest.mark.parametrize(
    "text", ["F.mse_loss(x, y)", "F.l1_loss(x, y)", "F.huber_loss(x, y)", "F.smooth_l1_loss(x, y)"]
)
def test_sizes_that_differ_warn(agree, text):
    with pytest.warns(UserWarning, match="different to the input size"):
        agree(text, x=normal(3, 4), y=normal(4))


def test_kl_div_mean_warns(agree):
    with pytest.warns(UserWarning, match="batchmean"):
        agree("F.kl_div(x, t)", x=normal(3, 4), t=unit(3, 4))


@pytest.mark.parametrize("old", ["size_average=False", "reduce=False", "size_average=True, reduce=True"])
def test_old_switches(agree, old):
    with pytest.warns(UserWarning, match="please use reduction"):
        agree(f"F.mse_loss(x, y, {old})", x=normal(3), y=normal(3, seed=1))


KINKS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    "text",
    ["F.mse_loss(x, const)", "F.l1_loss(x, const)", "F.smooth_l1_loss(x, const)", "F.huber_loss(x, const)",
     "F.hinge_embedding_loss(x, const_signs)", "F.margin_ranking_loss(x, const, const_signs)",
     "F.soft_margin_loss(x, const_signs)", "F.binary_cross_entropy_with_logits(x, const_signs * 0.5 + 0.5)"],
)  # fmt: skip
def test_kinks(agree, text):
    agree(
        text.replace("x,", "x,"),
        x=KINKS,
        const=np.zeros(6),
        const_signs=np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]),
    )


def test_large_logits(agree):
    x = np.array([-800.0, -50.0, 50.0, 800.0])
    agree(
        "F.binary_cross_entropy_with_logits(x, const, reduction='none')",
        x=x,
        const=np.array([0.0, 1.0, 0.0, 1.0]),
    )
    agree(
        "F.multilabel_soft_margin_loss(x, const, reduction='none')",
        x=x[None],
        const=np.array([[0.0, 1.0, 0.0, 1.0]]),
    )


def test_clamped_logarithms(agree):
    agree(
        "F.binary_cross_entropy(const, constt)",
        const=np.array([0.0, 1.0, 0.0, 1.0]),
        constt=np.array([1.0, 0.0, 0.0, 1.0]),
    )


@pytest.mark.parametrize("r", REDUCTIONS)
def test_weights_of_logits(agree, r):
    agree(
        f"F.binary_cross_entropy_with_logits(x, t, constw, pos_weight=constp, reduction={r!r})", HALF,
        x=normal(3, 4), t=unit(3, 4), constw=unit(3, 1), constp=unit(4),
    )  # fmt: skip
    agree(
        f"F.multilabel_soft_margin_loss(x, t, w, reduction={r!r})",
        HALF,
        x=normal(3, 4),
        t=unit(3, 4),
        w=unit(4),
    )


GAUSS = [((3, 4), (3,)), ((3, 4), (3, 1)), ((2, 3, 4), (2, 1, 4)), ((4,), (1,))]


@pytest.mark.parametrize(("shape", "own"), GAUSS)
def test_shapes_of_variances(agree, shape, own):
    agree("F.gaussian_nll_loss(x, y, v)", HALF, x=normal(*shape), y=normal(*shape, seed=1), v=unit(*own))


# -- classes ---------------------------------------------------------------------------------------

CLASSES = [
    ((5,), ()),
    ((4, 5), (4,)),
    ((2, 5, 3), (2, 3)),
    ((2, 4, 3, 2), (2, 3, 2)),
    ((0, 5), (0,)),
    ((2, 5, 0), (2, 0)),
]


@pytest.mark.parametrize("r", REDUCTIONS)
@pytest.mark.parametrize(("shape", "target"), CLASSES)
def test_classes(agree, shape, target, r):
    x = normal(*shape)
    c = shape[0] if len(shape) == 1 else shape[1]
    n, w = np.asarray(ints(c, *target)), unit(c)
    dtypes = HALF if np.prod(shape) else ("float32",)
    agree(f"F.nll_loss(x, n, reduction={r!r})", dtypes, x=x, n=n)
    agree(f"F.nll_loss(x, n, constw, reduction={r!r})", dtypes, x=x, n=n, constw=w)
    agree(f"F.nll_loss(x, n, constw, ignore_index=1, reduction={r!r})", dtypes, x=x, n=n, constw=w)
    agree(f"F.cross_entropy(x, n, reduction={r!r})", dtypes, x=x, n=n)
    agree(f"F.cross_entropy(x, n, constw, reduction={r!r})", dtypes, x=x, n=n, constw=w)
    agree(f"F.cross_entropy(x, n, ignore_index=1, reduction={r!r})", dtypes, x=x, n=n)
    if np.prod(shape):
        agree(f"F.cross_entropy(x, n, label_smoothing=0.2, reduction={r!r})", dtypes, x=x, n=n)
        text = f"F.cross_entropy(x, n, constw, ignore_index=1, label_smoothing=0.2, reduction={r!r})"
        agree(text, dtypes, x=x, n=n, constw=w)


@pytest.mark.parametrize("r", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 5, 3)])
def test_probabilities(agree, shape, r):
    x, t = normal(*shape), unit(*shape)
    w = unit(shape[0] if len(shape) == 1 else shape[1])
    agree(f"F.cross_entropy(x, t, reduction={r!r})", HALF, x=x, t=t)
    agree(f"F.cross_entropy(x, t, constw, reduction={r!r}, label_smoothing=0.1)", HALF, x=x, t=t, constw=w)


def test_everything_ignored(agree):
    n = np.array([-100, -100])
    agree("F.cross_entropy(const, n)", const=normal(2, 3), n=n)
    agree("F.nll_loss(const, n)", const=normal(2, 3), n=n)
    agree("F.cross_entropy(x, n, reduction='sum')", x=normal(2, 3), n=n)
    agree("F.cross_entropy(x, n)", x=normal(2, 3), n=np.array([-100, 1]))


def test_logits_not_finite(agree):
    x = np.array([[-np.inf, 0.0, 1.0], [1000.0, -1000.0, 0.0]])
    agree("F.cross_entropy(x, n, reduction='none')", x=x, n=np.array([1, 1]))
    agree("F.cross_entropy(const, n, reduction='none')", const=x, n=np.array([0, 2]))


@pytest.mark.parametrize("r", REDUCTIONS)
@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin(agree, p, r):
    more = f"p={p}, margin=0.7, reduction={r!r}"
    agree(f"F.multi_margin_loss(x, n, {more})", ("float32",), x=normal(4, 5), n=ints(5, 4))
    agree(
        f"F.multi_margin_loss(x, n, weight=constw, {more})",
        ("float32",),
        x=normal(4, 5),
        n=ints(5, 4),
        constw=unit(5),
    )
    agree(f"F.multi_margin_loss(x, n, {more})", ("float32",), x=normal(5), n=np.array(2))
    agree(f"F.multi_margin_loss(x, n, p={p}, reduction={r!r})", x=np.array([[0.0, 1.0, 2.0]]), n=np.array([1]))


@pytest.mark.parametrize("r", REDUCTIONS)
def test_multilabel_margin(agree, r):
    n = np.array([[3, 0, -1, 1], [2, -1, 0, 3], [0, 1, 2, 3], [-1, 0, 0, 0]])
    agree(f"F.multilabel_margin_loss(x, n, reduction={r!r})", ("float32",), x=normal(4, 4), n=n)
    agree(f"F.multilabel_margin_loss(x, n, reduction={r!r})", ("float32",), x=normal(4), n=n[0])
    agree(f"F.multilabel_margin_loss(x, n, reduction={r!r})", x=np.array([0.0, 1.0, 2.0, 1.0]), n=n[0])


# -- ranking, embeddings, distances ------------------------------------------------------------------


@pytest.mark.parametrize("r", REDUCTIONS)
def test_ranking(agree, r):
    more = f"reduction={r!r}"
    x, y, z = normal(4, 3), normal(4, 3, seed=1), normal(4, 3, seed=2)
    agree(f"F.hinge_embedding_loss(x, constt, margin=0.8, {more})", HALF, x=x, constt=signs(4, 3))
    agree(f"F.hinge_embedding_loss(x, constt, {more})", HALF, x=x, constt=signs(3))
    agree(f"F.margin_ranking_loss(x, y, constt, margin=0.3, {more})", HALF, x=x, y=y, constt=signs(4, 3))
    agree(f"F.cosine_embedding_loss(x, y, constt, margin=0.1, {more})", HALF, x=x, y=y, constt=signs(4))
    agree(f"F.cosine_embedding_loss(x, y, constt, {more})", HALF, x=x[0], y=y[0], constt=np.array(-1.0))
    for p in (1, 2, 3.5):
        for swap in (False, True):
            agree(f"F.triplet_margin_loss(x, y, z, 0.7, p={p}, swap={swap}, {more})", HALF, x=x, y=y, z=z, tol=3)
    agree(f"F.triplet_margin_with_distance_loss(x, y, z, swap=True, {more})", HALF, x=x, y=y, z=z, tol=3)
    agree(f"F.triplet_margin_loss(x, y, z, {more})", HALF, x=x[0], y=y[0], z=z[0], tol=3)


@pytest.mark.parametrize("p", [0, 1, 1.5, 2, 3, "float('inf')"])
def test_distances(agree, p):
    agree(f"F.pairwise_distance(x, y, {p})", ("float32",), x=normal(4, 3), y=normal(4, 3, seed=1))
    agree(f"F.pairwise_distance(x, y, {p}, keepdim=True)", ("float32",), x=normal(2, 4, 3), y=normal(3, seed=1))
    agree(f"F.pdist(x, {p})", ("float32",), x=normal(5, 3))
    for shape in ((1, 3), (0, 3), (3, 0)):  # constants, for torch's backward crashes on them
        agree(f"F.pdist(const, {p})", ("float32",), const=normal(*shape))


def test_equal_rows(agree):
    agree("F.pdist(x)", x=np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]))
    agree("F.pairwise_distance(x, y, eps=0.0)", x=np.ones((2, 3)), y=np.ones((2, 3)))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cosine_similarity(agree, dim):
    agree(f"F.cosine_similarity(x, y, dim={dim})", HALF, x=normal(4, 3), y=normal(4, 3, seed=1))
    agree(f"F.cosine_similarity(x, y, dim={dim})", HALF, x=normal(4, 3), y=normal(1, 3, seed=1))
    agree(f"F.cosine_similarity(x, y, dim={dim}, eps=10)", x=normal(4, 3), y=normal(4, 3, seed=1))
    agree(f"F.cosine_similarity(x, y, dim={dim})", x=np.zeros((2, 2)), y=normal(2, 2))


# -- connectionist temporal classification --------------------------------------------------------------

CTC = "F.ctc_loss(F.log_softmax(x, -1), n, {more})"


@pytest.mark.parametrize("r", REDUCTIONS)
def test_ctc(agree, r):
    x, n = normal(8, 3, 5), ints(4, 3, 3) + 1
    n[0] = [2, 2, 1]
    for lengths in ("(8, 8, 8), (3, 3, 3)", "(8, 6, 5), (3, 2, 1)", "(8, 7, 5), (3, 0, 2)"):
        agree(CTC.format(more=f"{lengths}, reduction={r!r}"), ("float32",), x=x, n=n)
    agree(CTC.format(more=f"T.tensor([8, 7, 6]), T.tensor([3, 2, 1]), blank=0, reduction={r!r}"), x=x, n=n)
    agree(CTC.format(more=f"(8, 7, 6), (3, 1, 2), reduction={r!r}"), x=x, n=np.array([1, 2, 2, 3, 4, 4]))
    agree(CTC.format(more=f"(8,), (3,), reduction={r!r}"), x=x[:, 0], n=n[0])
    agree(CTC.format(more=f"(8, 8, 8), (3, 3, 3), blank=4, reduction={r!r}"), x=x, n=n - 1)


@pytest.mark.parametrize("r", REDUCTIONS)
def test_ctc_that_is_impossible(agree, r):
    more = f"(2, 4, 3), (3, 3, 2), reduction={r!r}"
    n = np.array([[1, 2, 3], [1, 1, 2], [2, 2, 0]])
    agree(CTC.format(more=more + ", zero_infinity=True"), x=normal(4, 3, 5), n=n)
    agree(CTC.format(more=more).replace("x,", "const,"), const=normal(4, 3, 5), n=n)


LINEAR = [
    ("n", (4,), "F.linear_cross_entropy(x, w, n, reduction={r!r})"),
    ("n", (4,), "F.linear_cross_entropy(x, w, n, linear_bias=b, weight=constw, ignore_index=1, reduction={r!r})"),
    ("n", (4,), "F.linear_cross_entropy(x, w, n, label_smoothing=0.3, weight=constw, reduction={r!r})"),
    ("n", (4, 2), "F.linear_cross_entropy(x, w, n, linear_bias=b, reduction={r!r})"),
    ("t", (4,), "F.linear_cross_entropy(x, w, t.softmax(1), linear_bias=b, weight=constw, reduction={r!r})"),
    ("t", (4, 2), "F.linear_cross_entropy(x, w, t.softmax(1), label_smoothing=0.1, reduction={r!r})"),
]


@pytest.mark.parametrize("r", REDUCTIONS)
@pytest.mark.parametrize(("kind", "outputs", "text"), LINEAR)
def test_linear_cross_entropy(agree, kind, outputs, text, r):
    used = {"x": normal(5, 3), "w": normal(*outputs, 3), "b": normal(*outputs), "constw": unit(4)}
    used |= {"n": ints(4, 5, *outputs[1:])} if kind == "n" else {"t": normal(5, *outputs, seed=3)}
    agree(text.format(r=r), ("float32",), **used)


def test_linear_cross_entropy_of_one_row(agree):
    agree("F.linear_cross_entropy(x, w, n)", x=normal(3), w=normal(4, 3), n=np.array(2))
    agree("F.linear_cross_entropy(x, w, t.softmax(0))", x=normal(3), w=normal(4, 3), t=normal(4))


@pytest.mark.parametrize("settings", [{"batch_chunk_size": 2}, {"acc_policy": "accurate"}, {}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_linear_cross_entropy_in_pieces(settings, dtype):
    import torch

    import wengert as wg

    found = []
    for lib in (wg, torch):
        kind, make = getattr(lib, dtype), lib.tensor
        x, w = (make(normal(*s)).to(kind).requires_grad_() for s in ((9, 6), (20, 6)))
        options = lib.nn.LinearCrossEntropyOptions(**settings)
        layer = lib.nn.functional.linear_cross_entropy(x, w, make(ints(20, 9)), options=options)
        layer.backward()
        found.append([t.detach().float().numpy() for t in (layer, x.grad, w.grad)])
    tolerance = 2e-5 if dtype == "float32" else 3e-2
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())
