"""Indexing, gathering and scattering against torch; aliasing against torch stands in test_views.py."""

import itertools
import random

import numpy as np
import pytest

RNG = np.random.default_rng(5)
A = RNG.standard_normal((3, 4, 2, 5))
X = RNG.standard_normal((4, 5))
S = RNG.standard_normal((4, 5))
I45 = RNG.integers(0, 4, (4, 5))
J45 = RNG.integers(0, 5, (4, 5))
PERM = np.argsort(RNG.standard_normal((4, 5)), 0)
MASK = RNG.standard_normal((4, 5)) > 0

ITEMS = [
    "0", "-1", ":", "1:", "0:4:2", "None", "...", "i", "m", "[1, 0]", "k", "True", "False", "2:1", "-3:-1", "1:99",
]  # fmt: skip


def indices(n: int) -> list[str]:
    rng = random.Random(0)
    out = [(a,) for a in ITEMS] + list(itertools.product(ITEMS, repeat=2))
    out += [tuple(rng.choice(ITEMS) for _ in range(rng.choice((3, 4)))) for _ in range(n)]
    return [", ".join(x) for x in out if x.count("...") < 2]


INDEX_NAMES = {"i": np.array([0, 1]), "m": np.array([[0], [1]]), "k": np.array(1)}


@pytest.mark.parametrize("text", indices(250))
def test_getitem(agree, text):
    index = eval(f"np.s_[{text}]", {"np": np, **INDEX_NAMES})
    items = index if isinstance(index, tuple) else (index,)
    if sum(x is not None and x is not Ellipsis and not isinstance(x, bool) for x in items) > 4:
        return
    torch = pytest.importorskip("torch")
    names = {k: torch.tensor(v) for k, v in INDEX_NAMES.items()}
    try:
        eval(f"x[{text}]", {"x": torch.tensor(A), **names})
    except IndexError:  # a False beside an array: the two do not broadcast
        with pytest.raises(IndexError, match="do not broadcast"):
            agree(f"x[{text}]", x=A, **INDEX_NAMES)
        return
    agree(f"x[{text}]", dtypes=("float32",), x=A, **INDEX_NAMES)


@pytest.mark.parametrize("text", [
    "x[b]", "x[b] * 2", "x[:, b[0]]", "x[x > 0]", "x[b, None]", "x[b[:, 0]]", "x[b[:, 0], 1:]", "x[b[:, 0], [0]]",
    "x[None, b]", "x[..., b[0]]", "x[b.byte()]", "x[[True, False, True, False]]", "x[[0, 1], [2, 3]]",
    "x[T.tensor([], dtype=T.long)]", "x[[]]", "x[(1,)]", "x[()]", "x[1][2]", "x[range(2)]",
    "x[T.tensor([0, 1], dtype=T.int32)]", "x[T.tensor(2)]", "x[T.tensor(2):]", "x[~b]", "x[b & (x < 1)]",
    "x[-1, -1]", "x[[-1, -2], [-1, 0]]", "x[T.tensor([[-1]])]", "x[:, [0, 0, 0]]", "x[[0, 0], 1]", "x[1, [0, 0]]",
    "x[b][0]", "x[T.zeros(4, 5, dtype=T.bool)]", "x[T.tensor(True)]", "x[T.tensor(False), 0]", "x.mT[[0, 1], :2]",
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8")
def test_masks_and_lists(agree, text):
    agree(text, x=X, b=MASK)


FUNCTIONS = (
    """
T.gather(x, 0, i) | x.gather(1, j) | x.gather(1, j[:2, :3]) | x.gather(0, i[:, :2]) | x.gather(-1, j)
x[0].gather(0, j[0]) | T.take_along_dim(x, i, 0) | x.take_along_dim(j[:, :2], dim=1)
x.take_along_dim(j[:1, :2], 1) | x.take_along_dim(i) | T.index_select(x, 0, i[0]) | x.index_select(1, j[0])
x.index_select(-1, j[0, 0]) | x[0, 0].index_select(0, i[0, :1] * 0) | T.take(x, i) | x.take(T.tensor([0, -1, 19]))
x.scatter(0, p, s) | T.scatter(x, 1, j[:, :1], s.detach()) | x.scatter(0, p[:2, :3], s.detach())
x.scatter(0, i, 2.5) | x.scatter(1, j, value=-1) | x.scatter(1, j, 2.0, reduce='add').detach()
x.detach().scatter(0, i, s.detach(), reduce='multiply') | x.detach().scatter(1, j, 2.0, reduce='multiply')
T.scatter_add(x, 0, i, s) | x.scatter_add(1, j, s) | x.scatter_add(0, i[:3, :2], s.detach())
x.scatter_add(1, j[:2], s.detach()) | x.scatter_reduce(0, i, s, 'sum') | x.scatter_reduce(0, i, s, 'mean')
x.scatter_reduce(1, j, s, 'amax') | x.scatter_reduce(1, j, s, 'amin') | x.scatter_reduce(0, i, s, 'prod')
x.scatter_reduce(0, i, s, 'sum', include_self=False) | x.scatter_reduce(0, i, s, 'mean', include_self=False)
x.scatter_reduce(0, i, s, 'amax', include_self=False) | x.scatter_reduce(1, j, s, 'amin', include_self=False)
T.scatter_reduce(x, 1, j, s, reduce='prod', include_self=False)
x.detach().scatter_reduce(0, i[:2, :3], s.detach(), 'amax') | x.index_add(0, i[0], s[[0, 1, 2, 3, 0]])
x.index_add(1, j[0], s, alpha=2.5) | T.index_add(x, 0, i[0, 0], s[:1]) | x.index_copy(0, p[:, 0], s)
x.index_copy(1, T.tensor([2, 0]), s[:, :2]) | x.index_fill(0, i[0], 3.5) | x.index_fill(1, j[0, :2], s[0, 0])
x.index_fill(0, i[0, 0], -1) | x.index_put((p[:, 0],), s) | x.index_put((i, j), s, accumulate=True)
x.index_put((i[0],), s[0], True) | x.index_put((b,), s[0, 0]) | x.index_put((p[:, 0], T.tensor([1])), s[:, 0])
x.index_put((T.tensor(1),), s[0]) | x.put(T.tensor([0, 7, -1]), s[0, :3]) | x.put(i, s, accumulate=True)
x.masked_fill(b, 2.5) | x.masked_fill(b[0], s[0, 0]) | x[0].masked_fill(b, 0) | T.masked_fill(x, ~b, float('-inf'))
x.masked_select(b) | x.masked_select(b[0]) | x[0].masked_select(b) | T.masked_select(x, x > 9)
x.masked_scatter(b, s) | x.masked_scatter(b[0], s) | T.masked_scatter(x, ~b, s.mT)
T.index_reduce(x, 0, i[0], s[[0, 1, 2, 3, 0]], 'amax') | x.index_reduce(1, j[0], s, 'mean')
x.index_reduce(1, j[0], s, 'prod') | x.index_reduce(0, p[:, 0], s, 'amin', include_self=False)
x.index_reduce(1, j[0], s, 'mean', include_self=False) | x.index_reduce(1, j[0], s, 'prod', include_self=False)
T.nonzero(b) | b.nonzero() | b.nonzero(as_tuple=True) | x.nonzero() | T.argwhere(b) | T.tensor(3).nonzero()
T.tensor(0).nonzero() | T.tensor(3).argwhere() | T.tensor(3).nonzero(as_tuple=True) | T.unravel_index(i, (2, 3))
T.unravel_index(T.tensor(5), (2, 2, 2)) | T.unravel_index(T.tensor([-1]), 4) | T.tril_indices(3, 4)
T.tril_indices(3, 3, -1) | T.triu_indices(3, 4, 1, dtype=T.int32) | T.triu_indices(2, 2, offset=-1)
T.tril_indices(0, 3)
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)


@pytest.mark.parametrize("text", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:index_reduce", "ignore:The reduce argument")
def test_functions(agree, text):
    halves = ("float32",) if "prod" in text or "multiply" in text else ("float32", "float16")
    agree(text, dtypes=halves, tol=4, x=X, s=S, i=I45, j=J45, p=PERM, b=MASK)


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers(agree, reduce, own, dtype):
    x, s = np.arange(1, 21).reshape(4, 5).astype(dtype), (I45 + 1).astype(dtype)
    agree(f"x.scatter_reduce(0, i, s, '{reduce}', include_self={own})", dtypes=(), x=x, s=s, i=I45)


@pytest.mark.parametrize(("reduce", "own"), [("amax", True), ("amin", True), ("prod", True), ("prod", False)])
def test_ties_and_zeros(agree, reduce, own):
    x = np.array([1.0, 2.0, 0.0, 3.0])
    s = np.array([1.0, 1.0, 2.0, 0.0, 0.0, 5.0])
    agree(f"x.scatter_reduce(0, i, s, '{reduce}', include_self={own})", x=x, s=s, i=np.array([0, 0, 1, 2, 1, 1]))


@pytest.mark.parametrize("text", [
    "x.index_add_(0, i[0], s[[0, 1, 2, 3, 0]])", "x.index_copy_(0, p[:, 0], s)", "x.index_fill_(1, j[0], 2)",
    "x.index_put_((i, j), s, True)", "x.masked_fill_(b, 1)", "x.masked_scatter_(b, s)", "x.put_(i, s, True)",
    "x.scatter_(0, p, s)", "x.scatter_(0, i, 3.0)", "x.scatter_add_(1, j, s)", "x.scatter_reduce_(1, j, s, 'mean')",
    "x.tril_()", "x.triu_(1)", "x.squeeze_()", "x.unsqueeze_(0)", "x.transpose_(0, 1)", "x.t_()",
    "x.index_reduce_(1, j[0], s, 'amax')",
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:index_reduce")
def test_inplace(agree, text):
    agree(text.replace("x.", "(x * 1).", 1), dtypes=(), x=X, s=S, i=I45, j=J45, p=PERM, b=MASK)


@pytest.mark.parametrize("text", [
    "x[4]", "x[-5]", "x[0, 5]", "x[0, 0, 0]", "x[[0, 4]]", "x[:, [0, -6]]", "x[1.5]", "x['a']", "x[b[:, :3]]",
    "x[[0, 1], [0, 1, 2]]", "x[::0]", "x.gather(0, j)", "x.gather(0, -1 - i)", "x.gather(0, x)",
    "x.gather(1, T.zeros(5, 1).long())", "x.index_select(0, j[0])", "x.index_select(2, i[0])",
    "x.index_select(0, i)", "x.take(i + 20)", "x.scatter(0, j, s)", "x.scatter(0, i, s.float())",
    "x.scatter(0, i, s, reduce='max')", "x.scatter_add(0, j, s)", "x.index_add(0, i[0], s)",
    "x.index_copy(0, p[:, 0], s[:3])", "x.index_copy(0, p, s)", "x.masked_fill(i, 1)", "x.masked_fill(b, s)",
    "x.masked_fill(b[:, :3], 1)", "x.masked_select(i)", "x.masked_scatter(b, s[0, :1])", "x.put(i[0], s)",
    "x.index_put((j,), s)", "x.index_fill(0, j[0], 1)", "x.take_along_dim(i[0], 0)",
    "x.index_reduce(0, i[0], s, 'max')", "x.index_put((i, j), s.float())",
])  # fmt: skip
def test_both_refuse(text):
    torch = pytest.importorskip("torch")
    import wengert as wg

    def names(lib):
        arrays = {"x": X, "s": S, "i": I45, "j": J45, "p": PERM, "b": MASK}
        return {k: lib.tensor(a) for k, a in arrays.items()} | {"T": lib}

    with pytest.raises((RuntimeError, IndexError, ValueError, TypeError)) as theirs:
        eval(text, names(torch))
    with pytest.raises(wg.errors.WengertError, match=r"^\w+: ") as ours:
        eval(text, names(wg))
    if isinstance(theirs.value, IndexError):
        assert isinstance(ours.value, (IndexError, wg.errors.ShapeError))
