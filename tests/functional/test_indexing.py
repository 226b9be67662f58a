"""Indexing, gathering and scattering: values against NumPy, every mode of differentiation, errors."""

import numpy as np
import pytest

import wengert as wg
from wengert.errors import DTypeError, GraphError, IndexRangeError, ShapeError, TraceError
from wengert.graph.handle import wrap
from wengert.graph.trace import trace
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

RNG = np.random.default_rng(2)
X = RNG.standard_normal((3, 4, 2))
M = RNG.standard_normal((3, 4))
S = RNG.standard_normal((3, 4))
I = RNG.integers(0, 3, (3, 4))  # noqa: E741
J = RNG.integers(0, 4, (3, 4))
MASK = RNG.standard_normal((3, 4)) > 0

# Where NumPy and PyTorch mean the same.
INDICES = [
    np.s_[0], np.s_[-1], np.s_[1:], np.s_[::-1], np.s_[2:0:-1, ::-2], np.s_[..., 0], np.s_[None, :, 1], np.s_[:, None],
    np.s_[()], np.s_[...], np.s_[[0, 2]], np.s_[:, [3, 0, 3]], np.s_[[[0, 1], [2, 0]]], np.s_[[0, 1], [1, 2]],
    np.s_[[0, 1], :, [1, 0]], np.s_[..., [1, 0]], np.s_[[[0], [1]], [2, 3]], np.s_[MASK], np.s_[MASK, 1],
    np.s_[MASK[:, 0]], np.s_[:, MASK[0]], np.s_[True], np.s_[False], np.s_[1, True], np.s_[5:], np.s_[-2:, 1:-1, 0],
    np.s_[np.array(1)], np.s_[np.int64(2)], np.s_[X > 0], np.s_[[]], np.s_[:0], np.s_[range(2)], np.s_[None, MASK],
]  # fmt: skip


def ours(index):
    """The index with NumPy arrays as tensors."""
    if isinstance(index, tuple):
        return tuple(wrap(i) if isinstance(i, np.ndarray) else i for i in index)
    return wrap(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_getitem(index):
    x = wrap(X.copy())
    np.testing.assert_array_equal(x[ours(index)]._value, X[index])
    np.testing.assert_array_equal(x[index]._value, X[index])


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_getitem_in_every_mode(index):
    def f(x):
        return [(x * x)[ours(index)]]

    point = Point(f, [X])
    check_first_order(point)
    check_second_order(point)
    check_vmap(f, [X])


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("recorded", [False, True])
def test_setitem(index, recorded):
    for value in (np.float64(2.5), RNG.standard_normal(X[index].shape)):
        x, want = wrap(X.copy()), X.copy()
        if recorded:
            x = x.requires_grad_() * 1
        x[ours(index)] = wrap(value)
        want[index] = value
        np.testing.assert_array_equal(x._value, want)


@pytest.mark.slow
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_setitem_in_every_mode(index):
    value = RNG.standard_normal(X[index].shape)

    def f(x, v):
        y = x * x
        y[ours(index)] = v * v
        return [y]

    point = Point(f, [X, value])
    check_first_order(point)
    check_second_order(point)
    check_vmap(f, [X, value])


def test_ints_take_effect_before_arrays():
    """PyTorch's rule, where NumPy counts the int among the advanced indices."""
    assert wg.zeros(3, 4, 5)[0, :, [1, 2]].shape == (4, 2)
    assert np.zeros((3, 4, 5))[0, :, [1, 2]].shape == (2, 4)


def test_symbolic_indices():
    """While tracing, index values are not known; positions and negative indices still work."""
    index = np.array([1, -1, 0])

    def f(x, i):
        y = x * 1
        y[i] = x[i] * 2
        y[:, i] += 1
        return [y, x[i, i], x[:, i], x[i[0]]]

    graph = trace(f, [wrap(M).aval, wrap(index).aval])
    for got, want in zip(graph.numpy(M, index), f(wrap(M), wrap(index)), strict=True):
        np.testing.assert_array_equal(got, want._value)


def test_symbolic_mask_is_set_but_not_read():
    def put(x, m):
        y = x * 1
        y[m] = 0.0
        return y

    got = trace(put, [wrap(M).aval, wrap(MASK).aval]).numpy(M, MASK)
    np.testing.assert_array_equal(got, np.where(MASK, 0, M))
    with pytest.raises(TraceError, match=r"indexing by a mask.*Write x\[mask\] = value, or wg.where"):
        trace(lambda x, m: x[m], [wrap(M).aval, wrap(MASK).aval])


def slow_reduce(x, index, src, how, include_self):
    """scatter_reduce along dimension 0, element by element."""
    sent = {}
    for (r, c), i in np.ndenumerate(index):
        sent.setdefault((i, c), []).append(src[r, c])
    out = x.copy()
    for key, values in sent.items():
        values = ([x[key]] if include_self else []) + values
        f = {"sum": sum, "prod": np.prod, "mean": np.mean, "amax": max, "amin": min}[how]
        out[key] = f(values)
    return out


@pytest.mark.parametrize("how", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("own", [True, False])
def test_scatter_reduce(how, own):
    def f(x, s):
        return [x.scatter_reduce(0, wrap(I), s, how, include_self=own)]

    np.testing.assert_allclose(f(wrap(M), wrap(S))[0]._value, slow_reduce(M, I, S, how, own), 1e-12)
    point = Point(f, [M, S])
    check_first_order(point)
    check_second_order(point)
    check_vmap(f, [M, S])


def test_scatter_prod_with_zeros():
    """Derivatives of every order where factors are zero."""
    x, s = np.array([0.0, 2.0]), np.array([0.0, 3.0, 0.0, 0.0, 5.0])
    i = wrap(np.array([0, 0, 1, 1, 1]))
    point = Point(lambda x, s: [x.scatter_reduce(0, i, s, "prod")], [x, s])
    check_first_order(point)
    check_second_order(point)


def test_scatter_amax_shares_ties():
    x, s = wg.tensor([2.0, 1.0], requires_grad=True), wg.tensor([2.0, 2.0, 1.0], requires_grad=True)
    i = wg.tensor([0, 0, 1])
    x.scatter_reduce(0, i, s, "amax").sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 0.5])
    np.testing.assert_allclose(s.grad.numpy(), [1 / 3, 1 / 3, 0.5])
    x.grad = s.grad = None
    x.scatter_reduce(0, i, s, "amax", include_self=False).sum().backward()
    assert x.grad.tolist() == [0, 0] and s.grad.tolist() == [0.5, 0.5, 1]


FUNCTIONS = {
    "gather": lambda x, s: x.gather(1, wrap(J)),
    "gather part": lambda x, s: x.gather(0, wrap(I[:2, :3])),
    "take_along_dim": lambda x, s: x.take_along_dim(wrap(J[:, :2]), 1),
    "index_select": lambda x, s: x.index_select(1, wrap(J[0])),
    "take": lambda x, s: x.take(wrap(J)),
    "scatter": lambda x, s: x.scatter(0, wrap(I), s),
    "scatter part": lambda x, s: x.scatter(1, wrap(J[:, :2]), s),
    "scatter_add": lambda x, s: x.scatter_add(1, wrap(J[:2]), s),
    "index_add": lambda x, s: x.index_add(1, wrap(J[0]), s, alpha=2),
    "index_copy": lambda x, s: x.index_copy(1, wrap(J[0]), s),
    "index_fill": lambda x, s: x.index_fill(0, wrap(I[0]), s[0, 0]),
    "index_put": lambda x, s: x.index_put((wrap(I), wrap(J)), s),
    "index_put accumulate": lambda x, s: x.index_put((wrap(I), wrap(J)), s, accumulate=True),
    "put": lambda x, s: x.put(wrap(J), s),
    "put accumulate": lambda x, s: x.put(wrap(J), s, accumulate=True),
    "masked_fill": lambda x, s: x.masked_fill(wrap(MASK), s[0, 0]),
    "masked_select": lambda x, s: x.masked_select(wrap(MASK)),
    "masked_scatter": lambda x, s: x.masked_scatter(wrap(MASK), s),
    "index_reduce": lambda x, s: x.index_reduce(1, wrap(J[0]), s, "mean"),
}


@pytest.mark.quick(name=list(FUNCTIONS)[::4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_in_every_mode(name):
    def f(x, s):
        return [FUNCTIONS[name](x * x, s * s)]

    point = Point(f, [M, S])
    check_first_order(point)
    check_second_order(point)
    check_vmap(f, [M, S])


def test_functions_against_numpy():
    x, s = wrap(M), wrap(S)
    want = {
        "gather": np.take_along_axis(M, J, 1),
        "take": M.reshape(-1)[J],
        "index_select": M[:, J[0]],
        "masked_select": M[MASK],
        "masked_fill": np.where(MASK, S[0, 0], M),
    }
    added = M.copy()
    np.add.at(added, (I, J), S)
    want["index_put accumulate"] = added
    copied = M.copy()
    copied[:, J[0]] = S  # the last of equal indices wins
    want["index_copy"] = copied
    flat = M.copy().reshape(-1)
    flat[J.reshape(-1)] = S.reshape(-1)
    want["put"] = flat.reshape(3, 4)
    filled = M.copy()
    filled[MASK] = S.reshape(-1)[: MASK.sum()]
    want["masked_scatter"] = filled
    for name, value in want.items():
        np.testing.assert_allclose(FUNCTIONS[name](x, s)._value, value, err_msg=name)


def test_the_last_of_equal_indices_gets_the_gradient():
    v = wg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = wg.zeros(2).scatter(0, wg.tensor([0, 0, 1]), v)
    y.sum().backward()
    assert y.tolist() == [2, 3] and v.grad.tolist() == [0, 1, 1]


@pytest.mark.quick(width=[3])
@pytest.mark.parametrize("width", [1, 3, 128])
@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "complex128", "bfloat16"])
def test_rows_are_added_exactly(width, often, dtype):
    """All the ways of adding rows: unique indices, a few twice, one very often."""
    d = getattr(wg, dtype).np
    g = RNG.integers(-4, 5, (300, width)).astype(d)
    index = np.minimum(RNG.zipf(1.5, 300), 400) - 1 if often else RNG.integers(0, 400, 300)
    want = np.zeros((400, width), np.complex128)
    np.add.at(want, index, g.astype(np.complex128))
    got = wg.zeros(400, width, dtype=getattr(wg, dtype)).index_add(0, wrap(index), wrap(g))
    np.testing.assert_array_equal(got._value.astype(np.complex128), want)


def test_nonzero():
    x = wg.tensor([[0, 3, 0], [5, 0, 6]])
    assert x.nonzero().tolist() == [[0, 1], [1, 0], [1, 2]] == wg.argwhere(x).tolist()
    rows, columns = x.nonzero(as_tuple=True)
    assert rows.tolist() == [0, 1, 1] and columns.tolist() == [1, 0, 2]
    assert wg.tensor(3).nonzero().shape == (1, 0) and wg.tensor(0).nonzero().shape == (0, 0)
    assert wg.zeros(0, 2).nonzero().shape == (0, 2)


def test_unravel_index():
    found = wg.unravel_index(wg.tensor([5, -1]), (2, 3))
    assert [f.tolist() for f in found] == [[1, 1], [2, 2]]


ERRORS = [
    (lambda x: x[3], IndexRangeError, r"getitem: index out of range: index 3 along dimension 0 with size 3"),
    (lambda x: x[:, -5], IndexRangeError, r"index -5 along dimension 1 with size 4"),
    (lambda x: x[0, 0, 0], IndexRangeError, r"getitem: too many indices: 3 for a tensor of shape \[3, 4\]"),
    (lambda x: x[..., ...], IndexRangeError, r"one ellipsis"),
    (lambda x: x[[0, 3]], IndexRangeError, r"getitem: index out of range: index 3 along dimension 0 with size 3"),
    (lambda x: x[[0, 1], [4, 0]], IndexRangeError, r"index 4 along dimension 1 with size 4"),
    (lambda x: x[0, [0, -9]], IndexRangeError, r"index -9 along dimension 1 with size 4"),
    (lambda x: x[[0, 1], [0, 1, 2]], IndexRangeError, r"index tensors do not broadcast: shapes \[2\], \[3\]"),
    (lambda x: x[x], IndexRangeError, r"must hold integers or bools: f32\[3,4\]"),
    (lambda x: x["a"], IndexRangeError, r"getitem: not an index: str"),
    (lambda x: x[wg.ones(2, 4, dtype=wg.bool)], IndexRangeError, r"shape of the mask does not match: b1\[2,4\]"),
    (
        lambda x: x.gather(0, wg.tensor([[3]])),
        IndexRangeError,
        r"gather: index out of range: index 3 along dimension 0",
    ),
    (lambda x: x.gather(0, x), DTypeError, r"gather: the index must be an integer tensor: f32\[3,4\]"),
    (lambda x: x.gather(0, wg.zeros(1, 5).long()), ShapeError, r"must not exceed the input except in dimension 0"),
    (lambda x: x.scatter(0, wg.zeros(1, 1).long(), x.double()), DTypeError, r"scatter: input and source .* f32.* f64"),
    (lambda x: x.index_select(0, wg.tensor([-1])), IndexRangeError, r"index_select: index out of range: index -1"),
    (lambda x: x.index_add(0, wg.tensor([0]), x), ShapeError, r"index_add: the source does not fit"),
    (lambda x: x.masked_fill(wg.tensor([1]), 0), DTypeError, r"masked_fill: the mask must be a bool tensor: i64\[1\]"),
    (lambda x: x.long().masked_fill(x > 0, 1j), DTypeError, r"masked_fill: cannot store"),
    (lambda x: x.masked_scatter(x > -1, x[0]), ShapeError, r"masked_scatter: the source has too few"),
    (lambda x: x.scatter_reduce(0, wg.zeros(1, 1).long(), x, "median"), ValueError, r"reduce must be one of"),
]


@pytest.mark.parametrize(("f", "error", "text"), ERRORS)
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f(wg.ones(3, 4))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(("index", "value", "error"), [
    (5, 0.0, IndexRangeError), ([0, 7], 0.0, IndexRangeError), (([0, 1], [0, 4]), 1.0, IndexRangeError),
    (0, np.zeros(3), ShapeError), (slice(None), np.zeros((2, 4)), ShapeError), ([0, 1], np.zeros((3, 4)), ShapeError),
    (0, "text", ShapeError), (np.ones((3, 4), bool), np.zeros(5), ShapeError),
])  # fmt: skip
def test_a_failed_write_changes_nothing(recorded, index, value, error):
    x = wg.arange(12.0).reshape(3, 4)
    if recorded:
        x = x.requires_grad_() * 1
    before, node = np.array(x._value), x._node
    with pytest.raises(error):
        x[index] = wrap(value) if isinstance(value, np.ndarray) else value
    np.testing.assert_array_equal(x._value, before)
    assert x._node is node


def test_writes_cast_and_broadcast():
    x = wg.zeros(2, 3, dtype=wg.int64)
    x[0] = 2.9
    x[1] = wg.tensor([1.5, -1.5, 0.5])
    assert x.tolist() == [[2, 2, 2], [1, -1, 0]]
    x[:, 0] = wg.ones(1, 1, 2)
    x[wg.tensor([True, False])] = wg.tensor(7)
    assert x.tolist() == [[7, 7, 7], [1, -1, 0]]
    y = wg.zeros(2, dtype=wg.bool)
    y[1] = 3
    assert y.tolist() == [False, True]


def test_overlapping_source():
    x = wg.arange(5)
    x[1:] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3]


def test_write_to_leaf_is_refused():
    x = wg.ones(3, requires_grad=True)
    for write in (lambda: x.__setitem__(0, 2.0), lambda: x.masked_fill_(x > 0, 0), lambda: x[1:].mul_(2)):
        with pytest.raises(GraphError, match="leaf that requires grad"):
            write()
    with wg.no_grad():
        x[0] = 5.0
    assert x.tolist() == [5, 1, 1] and x.requires_grad and x.is_leaf


EQUAL_INDICES = [
    1, True, np.int64(1), np.bool_(True), 0, False, -1, (1,), (1, ...), (None, 1), (), ..., slice(None), slice(1, None),
    slice(0, 1), slice(False, True), (slice(None), 1), (slice(None), True), (slice(None), -1), (slice(None, None, 2),),
]  # fmt: skip


def test_equal_indices_of_different_kinds():
    """What an index means is remembered by shape and index, and 1 equals True."""
    for x in (np.arange(6.0).reshape(2, 3), np.arange(4.0).reshape(2, 2)) * 2:
        for index in EQUAL_INDICES if x.shape[1] == 3 else (1, 0, -1, slice(None)):
            found = wg.tensor(x)[index]
            assert found.shape == x[index].shape and found.tolist() == x[index].tolist()
