"""Shape functions: values against NumPy, every mode of differentiation, errors."""

import numpy as np
import pytest

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from wengert.graph.handle import wrap
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

RNG = np.random.default_rng(1)
X = RNG.standard_normal((2, 3, 4))
V = RNG.standard_normal(3)

# Each case: our function, NumPy's, on the same array.
CASES = {
    "reshape": (lambda x: x.reshape(4, -1), lambda a: a.reshape(4, -1)),
    "reshape of strides": (lambda x: x.mT.reshape(6, 4), lambda a: a.swapaxes(1, 2).reshape(6, 4)),
    "flatten": (lambda x: x.flatten(1), lambda a: a.reshape(2, 12)),
    "unflatten": (lambda x: x.unflatten(2, (2, -1)), lambda a: a.reshape(2, 3, 2, 2)),
    "squeeze": (lambda x: x[:, :1].squeeze(1), lambda a: a[:, 0]),
    "unsqueeze": (lambda x: x.unsqueeze(-2), lambda a: a[:, :, None]),
    "expand": (lambda x: x.unsqueeze(1).expand(-1, 5, -1, -1), lambda a: np.repeat(a[:, None], 5, 1)),
    "permute": (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    "movedim": (lambda x: wg.movedim(x, (0, 2), (1, 0)), lambda a: np.moveaxis(a, (0, 2), (1, 0))),
    "T": (lambda x: x[0].T, lambda a: a[0].T),
    "narrow": (lambda x: x.narrow(2, 1, 2), lambda a: a[:, :, 1:3]),
    "select": (lambda x: x.select(1, -1), lambda a: a[:, -1]),
    "split": (lambda x: x.split([1, 2], 1)[1], lambda a: a[:, 1:]),
    "chunk": (lambda x: x.chunk(3, 2)[1], lambda a: a[:, :, 2:]),
    "tensor_split": (lambda x: x.tensor_split(3, 2)[0], lambda a: a[:, :, :2]),
    "unbind": (lambda x: x.unbind(1)[2], lambda a: a[:, 2]),
    "diagonal": (lambda x: x.diagonal(1, 1, 2), lambda a: a.diagonal(1, 1, 2)),
    "unfold": (lambda x: x.unfold(2, 2, 1), lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, 2)),
    "as_strided": (
        lambda x: x.as_strided((3, 3), (4, 1), 1),
        lambda a: a.reshape(-1)[[[1, 2, 3], [5, 6, 7], [9, 10, 11]]],
    ),
    "cat": (lambda x: wg.cat([x, x[:, :1] * 2], 1), lambda a: np.concatenate([a, a[:, :1] * 2], 1)),
    "stack": (lambda x: wg.stack([x, x * x], -1), lambda a: np.stack([a, a * a], -1)),
    "dstack": (lambda x: wg.dstack([x[0], x[1]]), lambda a: np.dstack([a[0], a[1]])),
    "column_stack": (lambda x: wg.column_stack([x[0, 0], x[0].mT]), lambda a: np.column_stack([a[0, 0], a[0].T])),
    "constant_pad_nd": (
        lambda x: wg.constant_pad_nd(x, (1, 2, -1, 1), 3.0),
        lambda a: np.pad(a[:, 1:], ((0, 0), (0, 1), (1, 2)), constant_values=3.0),
    ),
    "flip": (lambda x: x.flip(0, 2), lambda a: np.flip(a, (0, 2))),
    "roll": (lambda x: x.roll((1, -2), (0, 2)), lambda a: np.roll(a, (1, -2), (0, 2))),
    "rot90": (lambda x: x.rot90(1, (1, 2)), lambda a: np.rot90(a, 1, (1, 2))),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda a: np.tile(a, (2, 1, 3))),
    "tile": (lambda x: x.tile(2, 2, 1, 1), lambda a: np.tile(a, (2, 2, 1, 1))),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), lambda a: np.repeat(a, 2, 1)),
    "repeat_interleave by counts": (
        lambda x: x.repeat_interleave(wg.tensor([2, 0, 1]), 1),
        lambda a: np.repeat(a, [2, 0, 1], 1),
    ),
    "meshgrid": (lambda x: wg.meshgrid(x[0, 0], x[1, 0], indexing="xy")[1], lambda a: np.meshgrid(a[0, 0], a[1, 0])[1]),
    "tril": (lambda x: x.tril(-1), lambda a: np.tril(a, -1)),
    "triu": (lambda x: x.triu(1), lambda a: np.triu(a, 1)),
    "diag_embed": (lambda x: x[0].diag_embed(), lambda a: a[0][:, :, None] * np.eye(4)),
    "diag": (lambda x: x[0, 0].diag(1), lambda a: np.diag(a[0, 0], 1)),
    "diagflat": (lambda x: wg.diagflat(x[0], -1), lambda a: np.diagflat(a[0], -1)),
    "block_diag": (lambda x: wg.block_diag(x[0], x[1, 0])[:, 3:], lambda a:
                   np.vstack([np.c_[a[0, :, 3:], np.zeros((3, 4))],
                                                                                np.r_[0, a[1, 0]]])),
    "slice_scatter": (lambda x: wg.slice_scatter(x, x[:, :, :2] * 2, 2, 0, 4, 2), lambda a:
                      np.stack([2 * a[..., 0], a[..., 1], 2 * a[..., 1], a[..., 3]], -1)),
    "select_scatter": (lambda x: wg.select_scatter(x, x[0] * 2, 0, 1), lambda a: np.stack([a[0], 2 * a[0]])),
    "diagonal_scatter": (
        lambda x: wg.diagonal_scatter(x[0], x[1, 0, :3] * 2),
        lambda a: np.where(np.eye(3, 4) > 0, 2 * np.r_[a[1, 0, :3]][:, None], a[0]),
    ),
    "as_strided_scatter": (
        lambda x: wg.as_strided_scatter(x[0], x[1, 0, :2], (2,), (5,), 1),
        lambda a: np.r_[a[0].ravel()[:1], a[1, 0, :1], a[0].ravel()[2:6], a[1, 0, 1:2], a[0].ravel()[7:]].reshape(3, 4),
    ),
    "sum_to_size": (lambda x: x.sum_to_size(3, 1), lambda a: a.sum((0, 2))[:, None]),
    "cartesian_prod": (
        lambda x: wg.cartesian_prod(x[0, 0, :2], x[1, 0, :2]),
        lambda a: np.array([[p, q] for p in a[0, 0, :2] for q in a[1, 0, :2]]),
    ),
    "combinations": (
        lambda x: wg.combinations(x[0, 0, :3]),
        lambda a: a[0, 0][[[0, 1], [0, 2], [1, 2]]],
    ),
    "clone": (lambda x: x.mT.clone(), lambda a: a.swapaxes(1, 2)),
    "contiguous": (lambda x: x.mT.contiguous(), lambda a: a.swapaxes(1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value(name):
    ours, numpys = CASES[name]
    np.testing.assert_array_equal(ours(wrap(X.copy()))._value, numpys(X))


@pytest.mark.quick(name=list(CASES)[::4])
@pytest.mark.parametrize("name", CASES)
def test_every_mode(name):
    ours, _ = CASES[name]

    def f(x):
        return [ours(x * x)]

    point = Point(f, [X])
    check_first_order(point)
    check_second_order(point)
    check_vmap(f, [X])


@pytest.mark.parametrize("dtype", wg.dtypes.ALL if hasattr(wg, "dtypes") else [wg.float32, wg.int64, wg.bool])
def test_every_dtype_moves(dtype):
    x = wg.tensor([[1, 0, 1], [0, 1, 1]], dtype=dtype)
    want = x._value
    np.testing.assert_array_equal(x.T.reshape(-1)._value, want.T.reshape(-1))
    np.testing.assert_array_equal(wg.cat([x, x])._value, np.concatenate([want, want]))
    np.testing.assert_array_equal(x.tril()._value, np.where(np.tri(2, 3) > 0, want, 0))
    np.testing.assert_array_equal(x.flip(0).repeat(1, 2)._value, np.tile(want[::-1], (1, 2)))
    np.testing.assert_array_equal(
        wg.constant_pad_nd(x, (1, 0), 1)._value, np.pad(want, ((0, 0), (1, 0)), constant_values=1)
    )
    for y in (x.T, wg.cat([x, x]), x.tril(), x.flip(0), x.diagonal(), x.unfold(1, 2, 1), x.clone()):
        assert y.dtype is dtype


def test_negative_steps_are_views():
    x = wg.arange(6)
    y = x[::-2]
    assert y.tolist() == [5, 3, 1]
    y[0] = 9
    assert x.tolist() == [0, 1, 2, 3, 4, 9]


def test_results_that_are_no_views_own_their_memory():
    x = wg.arange(4.0).reshape(2, 2)
    for y in (x.flip(0), x.repeat(1, 1), x.tile(1), x.roll(0, 0), x.rot90(4), x.clone(), x.diag(), x.tril(9),
              x.repeat_interleave(1, 0), x.T.contiguous(), x.rot90(1), wg.cat([x]), x[[0, 1]]):  # fmt: skip
        y.zero_()
        y.numpy()[...] = 7
        assert x.tolist() == [[0, 1], [2, 3]]


def test_contiguous_returns_itself():
    x = wg.ones(2, 3)
    assert x.contiguous() is x and x.to(wg.float32) is x and x.float() is x and x.cpu() is x
    assert x.T.contiguous().is_contiguous() and not x.T.is_contiguous()


@pytest.mark.parametrize(("f", "error", "text"), [
    (lambda x: x.reshape(5), ShapeError, r"reshape: numbers of elements differ: f32\[2,3\] has 6, \[5\] needs 5"),
    (lambda x: x.reshape(-1, 4), ShapeError, r"reshape: the size for -1 cannot be found: f32\[2,3\]"),
    (lambda x: x.T.view(6), ShapeError, r"view: the strides .* Use reshape"),
    (lambda x: x.expand(2, 4), ShapeError, r"expand: the sizes do not fit: f32\[2,3\] to \[2, 4\]"),
    (lambda x: x.permute(0, 0), ShapeError, r"permute: not an order of the dimensions"),
    (lambda x: x.select(1, 3), IndexRangeError, r"select: index out of range: index 3 along dimension 1 with size 3"),
    (lambda x: x.narrow(0, 1, 2), IndexRangeError, r"narrow: .* start 1 and length 2 along dimension 0 with size 2"),
    (lambda x: x.split([1, 2]), ShapeError, r"split: sizes must sum to 2"),
    (lambda x: x.unsqueeze(4), IndexRangeError, r"unsqueeze: dimension out of range"),
    (lambda x: wg.cat([x, x.T]), ShapeError, r"cat: sizes must match except in dimension 0: f32\[2,3\], f32\[3,2\]"),
    (lambda x: wg.cat(x), DTypeError, r"cat: needs a list or tuple of tensors: Tensor"),
    (lambda x: wg.cat([x, 1]), DTypeError, r"it holds int"),
    (lambda x: wg.cat([]), ArgumentError, r"cat: needs at least one tensor"),
    (lambda x: wg.stack([x, x.T]), ShapeError, r"stack: tensors must have one shape: f32\[2,3\] and f32\[3,2\]"),
    (lambda x: x.repeat(2), ShapeError, r"repeat: needs a count"),
    (lambda x: x.unfold(1, 4, 1), ArgumentError, r"unfold: the window does not fit: size 4"),
    (lambda x: x.as_strided((9,), (1,)), IndexRangeError, r"strided: reaches outside"),
    (lambda x: x.to("cuda"), DTypeError, r"device: no such device"),
    (lambda x: x.T.view(wg.float64), ShapeError, r"view: "),
    (lambda x: wg.movedim(x, (0, 1), 0), ArgumentError, r"movedim: needs as many sources"),
])  # fmt: skip
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f(wg.ones(2, 3))


def test_view_of_a_result_with_odd_strides():
    """A result of an op is laid out again; only a view of other memory is refused."""
    x = wg.arange(6.0).reshape(2, 3)
    assert x.T.exp().log().view(-1).round().tolist() == [0, 3, 1, 4, 2, 5]
    with pytest.raises(ShapeError):
        x.T.view(-1)


def test_shapes_while_tracing():
    from wengert.graph.trace import trace

    def f(x):
        y = x.T.contiguous().view(-1)
        return wg.cat([y, x.reshape(-1), x.unfold(1, 2, 1).flatten()]).repeat(2)

    graph = trace(f, [wg.ones(2, 3).aval])
    a = RNG.standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_array_equal(graph.numpy(a), f(wrap(a))._value)


def test_casts_round_trip():
    x = wg.tensor([0.0, 1.5, -2.5])
    assert x.int().dtype is wg.int32 and x.int().tolist() == [0, 1, -2]
    assert x.bool().tolist() == [False, True, True]
    assert x.bfloat16().float().tolist() == [0.0, 1.5, -2.5]
    assert x.to(wg.float64).dtype is wg.float64 and x.type_as(x.long()).dtype is wg.int64
    assert x.type() == "torch.FloatTensor" and x.type("torch.LongTensor").dtype is wg.int64
    assert x.to(x.double(), copy=True).dtype is wg.float64 and x.to(wg.float32, copy=True) is not x


def test_gradient_flows_through_casts():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    (x.double() * x.half().double()).sum().backward()
    assert x.grad.dtype is wg.float32 and x.grad.tolist() == [2.0, 4.0]
    assert not x.long().requires_grad


def test_view_as_another_dtype_shares():
    x = wg.zeros(2, 2)
    y = x.view(wg.int32)
    y[0, 0] = 0x3F800000
    assert x[0, 0].item() == 1.0 and not x.requires_grad_().view(wg.int32).requires_grad
    assert x.detach().view(wg.uint8).shape == (2, 8) and x.detach().view(wg.float64).shape == (2, 1)
