"""Shape functions, views, joining and copies against torch."""

import numpy as np
import pytest

RNG = np.random.default_rng(3)
X = RNG.standard_normal((2, 3, 4))
Y = RNG.standard_normal((2, 3, 4))
M = RNG.standard_normal((3, 4))
V = RNG.standard_normal(5)
ONES = RNG.standard_normal((1, 2, 1, 3, 1))
ZERO = np.array(1.5)
EMPTY = RNG.standard_normal((0, 3))
COMPLEX = RNG.standard_normal((2, 3)) + 1j * RNG.standard_normal((2, 3))

VIEWS = (
    """
x.reshape(4, 6) | x.reshape(-1) | x.reshape((2, -1)) | T.reshape(x, (6, 4)) | x.transpose(0, 1).reshape(-1)
x.transpose(0, 1).reshape(3, 8) | x.permute(2, 0, 1).reshape(4, 6) | x[:, :, ::2].reshape(2, 6) | x.view(6, 4)
x.view(-1) | x.view(2, 1, 3, 4) | x[:, 1:].view(2, 2, 2, 2) | x.view_as(T.ones(6, 4))
x.reshape_as(T.ones(4, 3, 2)) | x.flatten() | x.flatten(1) | x.flatten(0, 1) | x.flatten(1, 1) | x.flatten(-2)
x.unflatten(2, (2, 2)) | x.unflatten(-1, (2, -1)) | x.unflatten(1, [3, 1]) | x.ravel() | x.mT.ravel() | x.squeeze()
x.unsqueeze(0) | x.unsqueeze(-1) | x.unsqueeze(2).squeeze(2) | x.squeeze(1) | x.permute(2, 0, 1)
T.permute(x, (1, 2, 0)) | x.permute((0, -1, 1)) | x.transpose(0, 2) | x.transpose(-1, -2) | x.swapaxes(0, 1)
T.swapdims(x, 0, 2) | x.movedim(0, 2) | x.movedim((0, 1), (2, 0)) | T.moveaxis(x, -1, 0) | x.mT | x.mH
x.adjoint() | x[0].T | x[0].H | x[0].t() | x.narrow(2, 1, 2) | x.narrow(0, -1, 1) | x.narrow_copy(1, 0, 2)
x.select(1, 2) | x.select(-1, -1) | x.unbind() | x.unbind(2) | x.split(1) | x.split(3, 2) | x.split([1, 3], dim=2)
T.split_with_sizes(x, [1, 1], 0) | x.chunk(2) | x.chunk(3, dim=2) | x.chunk(5, -1) | x.tensor_split(3, 2)
x.tensor_split((1, 3), dim=2) | x.tensor_split([2, 1, -1], 2) | x.hsplit(3) | x.hsplit([1]) | x.vsplit(2)
x.dsplit(2) | x.dsplit([1, 2]) | x.unsqueeze(0).expand(5, 2, 3, 4) | x.unsqueeze(1).expand(-1, 2, -1, 4)
x.expand(1, -1, 3, 4) | x.expand_as(T.ones(2, 2, 3, 4)) | x.broadcast_to((3, 2, 3, 4))
T.broadcast_tensors(x, x[0], x[0, 0]) | x.sum_to_size(3, 1) | x.sum_to_size(2, 3, 4) | x.sum_to_size(1, 1, 4)
x.diagonal() | x.diagonal(1, 1, 2) | x.diagonal(-1, 2, 0) | x.diagonal(9, 0, 1)
T.diagonal(x, offset=-2, dim1=0, dim2=2) | x.unfold(2, 2, 1) | x.unfold(1, 2, 2) | x.unfold(2, 4, 1)
x.unfold(0, 1, 3) | x.as_strided((2, 2), (1, 2)) | x.as_strided((3, 3), (4, 1), 2) | x[1].as_strided((2,), (3,))
x.as_strided((4,), (0,), 5) | T.atleast_1d(x) | T.atleast_2d(x, x[0, 0]) | T.atleast_3d(x[0], x[0, 0], x[0, 0, 0])
T.atleast_2d([x[0, 0], x[0]])
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)

JOINS = (
    """
T.cat([x, y]) | T.cat((x, y), 1) | T.cat([x, y[:, :1]], dim=-2) | T.concat([x, y], dim=2) | T.concatenate([x], 0)
T.cat([x[:0], y]) | T.cat([T.ones(0, dtype=x.dtype), y], 1) | T.stack([x, y]) | T.stack((x, y), 1)
T.stack([x, y], -1) | T.hstack([x, y]) | T.hstack([x[0, 0], y[0, 1]]) | T.vstack([x[0, 0], y[0]])
T.dstack([x[0], y[0]]) | T.dstack([x[0, 0], y[0, 0]]) | T.column_stack([x[0, 0], y[0].mT])
T.row_stack([x[0], y[0]]) | T.vstack([x[0, 0, 0], y[0, 0, :1]]) | T.block_diag(x[0], y[0, 0], y[0, 0, 0])
T.constant_pad_nd(x, (1, 2)) | T.constant_pad_nd(x, (1, -1, 0, 2), 2.5) | T.constant_pad_nd(x, (-1, -1))
T.flip(x, (0, 2)) | x.flip(1) | x.flip([0, 1]) | x.fliplr() | x.flipud() | x.flip(()) | x.roll(1) | x.roll(2, 1)
x.roll((1, -1), (0, 2)) | x.roll((1, 2), (1, 1)) | x.roll(7, -1) | x.roll(0, 0) | x.rot90() | x.rot90(2, (1, 2))
x.rot90(3, [0, 2]) | x.rot90(-1, (2, 0)) | x.rot90(4) | x.tile(2) | x.tile((2, 1, 3)) | x.tile(2, 1, 1, 2)
x.repeat(1, 2, 3) | x.repeat(2, 1, 1, 1) | x.repeat((0, 1, 1)) | x.repeat(1, 1, 1) | x.repeat_interleave(2)
x.repeat_interleave(3, 1) | x.repeat_interleave(T.tensor([2, 0, 1]), 1)
T.repeat_interleave(x, T.tensor([2]), dim=0) | T.repeat_interleave(T.tensor([1, 0, 2])) | x.repeat_interleave(0, 1)
T.meshgrid(x[0, 0], y[0, :, 0], indexing='ij') | T.meshgrid(x[0, 0], y[0, :, 0], x[:, 0, 0], indexing='xy')
T.meshgrid([x[0, 0], x[0, 0, 0]], indexing='xy') | T.cartesian_prod(x[0, 0], y[:, 0, 0])
T.cartesian_prod(x[0, 0]) | T.combinations(x[0, 0]) | T.combinations(x[0, 0], 3) | T.combinations(x[0, 0], 2, True)
T.combinations(x[0, 0], r=1) | x.tril() | x.tril(-1) | x.triu(1) | x.triu(diagonal=-1) | T.tril(x, 9)
x.diag_embed() | x.diag_embed(1) | x.diag_embed(-2, 0, 2) | x[0].diag() | x[0].diag(1) | x[0, 0].diag()
x[0, 0].diag(-1) | T.diagflat(x[0]) | T.diagflat(x[0, 0], 2) | T.diagflat(x[0, 0, 0])
T.select_scatter(x, y[:, 0], 1, -1) | T.slice_scatter(x, y[:, :2], 1, 1)
T.slice_scatter(x, y[:, :, :2], 2, 0, 4, 2) | T.slice_scatter(x, y) | T.diagonal_scatter(x, y[0, :1].mT, 1, 1, 0)
x.diagonal_scatter(y[0, :2].mT) | x.select_scatter(y[0], 0, 1) | x.clone() | x.mT.contiguous() | x.contiguous()
x.mT.clone()
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)


@pytest.mark.parametrize("text", VIEWS)
def test_views(agree, text):
    agree(text, dtypes=("float32", "bfloat16"), x=X)


@pytest.mark.parametrize("text", JOINS)
def test_joins(agree, text):
    agree(text, dtypes=("float32", "float16"), x=X, y=Y)


@pytest.mark.parametrize("text", [
    "x.reshape(1)", "x.reshape(())", "x.view(1, 1)", "x.flatten()", "x.ravel()", "x.squeeze()", "x.unsqueeze(0)",
    "x.expand(2, 3)", "x.expand(())", "x.permute(())", "x.transpose(0, -1)", "x.t()", "x.repeat(3)", "x.repeat(())",
    "x.tile(2)", "x.flip(())", "x.roll(1)", "T.stack([x, x])", "T.hstack([x, x])", "T.vstack([x, x])",
    "T.atleast_3d(x)", "x.unfold(0, 1, 1)", "x.squeeze(0)", "x.repeat_interleave(2)", "x.clone()", "x.contiguous()",
    "x.expand(3)", "x.sum_to_size(())", "x.as_strided((2,), (0,))", "T.diagflat(x)", "x.movedim(0, 0)",
])  # fmt: skip
def test_0d(agree, text):
    agree(text, x=ZERO)


@pytest.mark.parametrize("text", [
    "x.reshape(3, 0)", "x.reshape(-1)", "x.view(0, 1, 3)", "x.flatten()", "x.split(2)", "x.chunk(2)", "x.unbind(1)",
    "x.expand(2, 0, 3)", "x.diagonal()", "x.repeat(2, 2)", "x.flip(0)", "x.roll(1, 0)", "T.cat([x, x], 1)",
    "x.tril()", "T.stack([x, x])", "x.repeat_interleave(2, 0)", "x.unfold(1, 2, 1)", "x.tensor_split(2, 1)",
    "x.diag_embed()", "x.sum_to_size(1, 3)", "x.mT", "x.unflatten(0, (0, 2))", "x.roll(1)",
    "T.cartesian_prod(x[:, 0], x[:, 1])",
])  # fmt: skip
def test_empty(agree, text):
    agree(text, x=EMPTY)


@pytest.mark.parametrize("text", [
    "x.squeeze()", "x.squeeze(0)", "x.squeeze(1)", "x.squeeze((0, 2))", "x.squeeze(-1)", "x.expand(4, 2, 3, 3, 2)",
])  # fmt: skip
def test_ones(agree, text):
    agree(text, x=ONES)


@pytest.mark.parametrize("text", [
    "x.mH", "x.H", "x.adjoint()", "T.cat([x, x])", "x.flip(0)", "x.tril()", "x.diagonal()", "x.unfold(1, 2, 1)",
    "x.repeat(2, 1)", "x.diag()", "T.constant_pad_nd(x, (1, 0), 1)", "x.clone()", "x.roll(1, 1)", "x.T",
])  # fmt: skip
def test_complex(agree, text):
    agree(text, dtypes=(), x=COMPLEX)


@pytest.mark.parametrize("text", [
    "T.cat([x, y])", "T.cat([y, z])", "T.stack([x, z])", "T.cat([x, z], 0)", "T.hstack([z, w])",
    "T.block_diag(x, w)", "T.cat([w, y])", "T.vstack([x, y, z, w])",
])  # fmt: skip
def test_promotion(agree, text):
    y, z = np.float32([1.5, 2, 3]), np.float64([2, 3, 4])
    agree(text, dtypes=(), x=np.arange(3), y=y, z=z, w=np.array([True, False, True]))


CASTS = ["bfloat16", "bool", "byte", "char", "double", "float", "half", "int", "long", "short", "cfloat", "cdouble"]


@pytest.mark.parametrize("name", CASTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "float16"])
def test_casts(agree, name, dtype):
    a = np.array([0.0, 1.0, 2.5, 100.0]).astype(dtype)
    agree(f"x.{name}()", dtypes=(), x=a)
    kind = {"byte": "uint8", "char": "int8", "short": "int16", "int": "int32", "long": "int64", "half": "float16",
            "float": "float32", "double": "float64", "cfloat": "complex64",
            "cdouble": "complex128"}.get(name, name)  # fmt: skip
    for text in (f"x.to(T.{kind})", f"x.to(dtype=T.{kind})", f"x.to('cpu', T.{kind})", f"x.type(T.{kind})",
                 f"x.type_as(T.ones(1, dtype=T.{kind}))", f"x.to(T.ones(1, dtype=T.{kind}))",
                 f"x.to(T.{kind}, copy=True)"):  # fmt: skip
        agree(text, dtypes=(), x=a)


@pytest.mark.parametrize("text", [
    "x.view(T.int64)", "x.view(T.float32)", "x.view(T.uint8)", "x.view(dtype=T.float64)", "x.view(T.int16)",
    "x.view(T.complex128)",
])  # fmt: skip
def test_view_dtype(agree, text):
    agree(text.replace("x", "const", 1), dtypes=(), const=X)


@pytest.mark.parametrize("text", [
    "x.size()", "x.size(1)", "x.size(-1)", "x.dim()", "x.ndimension()", "x.numel()", "x.nelement()",
    "x.element_size()", "x.stride()", "x.stride(1)", "x.stride(-1)", "x.mT.stride()", "x[:, 1:].stride()",
    "x[:, ::2].storage_offset()", "x[1, 1].storage_offset()", "x.storage_offset()", "x.is_contiguous()",
    "x.mT.is_contiguous()", "x[1].is_contiguous()", "x[:, 1].is_contiguous()", "x.nbytes", "x.itemsize",
    "x.is_same_size(x.mT)", "x.expand(2, 2, 3, 4).stride()", "x.shape.numel()", "x.type()",
    "x.unfold(2, 2, 1).stride()", "x.diagonal().stride()", "x[0, 0, 0].stride()", "x[:0].stride()",
    "x.data_ptr() == x[0].data_ptr()", "x[1].data_ptr() - x.data_ptr()", "list(x.shape)", "T.numel(x)",
    "x.permute(2, 0, 1).stride()", "x.reshape(6, 4).data_ptr() == x.data_ptr()",
    "x.mT.reshape(-1).data_ptr() == x.data_ptr()",
])  # fmt: skip
def test_facts(text):
    torch = pytest.importorskip("torch")
    import wengert as wg

    ours = eval(text, {"x": wg.tensor(X, dtype=wg.float32), "T": wg})
    theirs = eval(text, {"x": torch.tensor(X, dtype=torch.float32), "T": torch})
    assert ours == theirs


@pytest.mark.parametrize("text", [
    "x.reshape(5)", "x.reshape(-1, -1)", "x.reshape(-2, 12)", "x.mT.view(-1)", "x.view(5, 5)", "x.expand(2, 3, 5)",
    "x.expand(3, 4)", "x.permute(0, 1)", "x.permute(0, 0, 1)", "x.transpose(0, 3)", "x.t()", "x.squeeze(3)",
    "x.unsqueeze(5)", "x.narrow(0, 1, 2)", "x.narrow(0, 3, 0)", "x.select(0, 2)", "x.split(0)", "x.split([1, 2])",
    "x.chunk(0)", "x.unflatten(0, (3, 1))", "x.flatten(2, 1)", "x.diagonal(0, 1, 1)", "x.unfold(0, 3, 1)",
    "x.unfold(0, 1, 0)", "x.as_strided((30,), (1,))", "x.as_strided((2,), (1, 1))", "T.cat([])", "T.cat([x, x[0]])",
    "T.cat([x, x[:, :2]])", "T.stack([x, x[0]])", "T.stack([])", "x.flip(3)", "x.flip((0, 0))", "x.roll((1, 2))",
    "x.roll((1, 2), 0)", "x.rot90(1, (0, 0))", "x.repeat(2)", "x.repeat(-1, 1, 1)",
    "x.repeat_interleave(T.tensor([1, 2]), 1)", "x.repeat_interleave(-1)", "T.cartesian_prod(x)",
    "T.combinations(x)", "x[0, 0].tril()", "x.diag()", "T.constant_pad_nd(x, (1,))",
    "T.constant_pad_nd(x, (-3, -3))", "T.select_scatter(x, x, 0, 0)", "T.select_scatter(x, x[0], 0, 2)",
    "T.slice_scatter(x, x[:1])", "T.block_diag(x)", "x.movedim((0, 0), (1, 2))", "x.movedim(0, (1, 2))",
    "x.sum_to_size(5)", "T.broadcast_shapes((2,), (3,))", "x.hsplit(2)", "x.size(3)", "x[0, 0, 0].unbind()",
    "x.view(T.float64)", "x.tensor_split(0)", "T.meshgrid(x)", "T.flipud(x[0, 0, 0])",
])  # fmt: skip
def test_both_refuse(text):
    torch = pytest.importorskip("torch")
    import wengert as wg

    a = X[:, :, :3]
    with pytest.raises((RuntimeError, IndexError, ValueError, TypeError)):
        eval(text, {"x": torch.tensor(a, dtype=torch.float32), "T": torch})
    with pytest.raises(wg.errors.WengertError, match=r"^\w+: "):
        eval(text, {"x": wg.tensor(a, dtype=wg.float32), "T": wg})
