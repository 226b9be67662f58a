"""What older and optimiser-like programs call: typed constructors, ``_foreach_``, questions, windows."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg

TYPES = {
    "FloatTensor": wg.float32, "DoubleTensor": wg.float64, "HalfTensor": wg.float16, "BFloat16Tensor": wg.bfloat16,
    "LongTensor": wg.int64, "IntTensor": wg.int32, "ShortTensor": wg.int16, "CharTensor": wg.int8,
    "ByteTensor": wg.uint8, "BoolTensor": wg.bool,
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_typed_constructors(name: str) -> None:
    make, dtype = getattr(wg, name), TYPES[name]
    assert make([1, 0]).dtype is make(np.ones(2)).dtype is make(2, 3).dtype is make().dtype is dtype
    assert make([1, 0]).tolist() == [1, 0]
    assert make(2, 3).shape == make(wg.Size([2, 3])).shape == (2, 3)
    assert make().shape == (0,)
    x = wg.ones(2, dtype=dtype)
    assert isinstance(x, make)
    assert not isinstance(wg.ones(2, dtype=wg.complex64), make)
    assert x.type() == f"torch.{name}" == wg.typename(x)
    assert wg.tensor([0, 1]).type(make).dtype is wg.tensor([0, 1]).type(f"torch.{name}").dtype is dtype
    assert x.new(2, 2).dtype is x.new([1]).dtype is dtype


def test_default_tensor_type() -> None:
    try:
        wg.set_default_tensor_type("torch.DoubleTensor")
        assert wg.tensor([1.5]).dtype is wg.float64
        wg.set_default_tensor_type(wg.FloatTensor)
        assert wg.tensor([1.5]).dtype is wg.float32
        with pytest.raises(wg.errors.DTypeError, match="no such tensor type here"):
            wg.set_default_tensor_type("torch.cuda.FloatTensor")
    finally:
        wg.set_default_dtype(wg.float32)


def test_foreach() -> None:
    xs = [wg.tensor([1.0, 4.0]), wg.tensor(9.0)]
    assert [x.tolist() for x in wg._foreach_sqrt(xs)] == [[1.0, 2.0], 3.0]
    assert [x.tolist() for x in wg._foreach_neg(xs)] == [[-1.0, -4.0], -9.0]
    assert [x.tolist() for x in wg._foreach_add(xs, xs, alpha=2)] == [[3.0, 12.0], 27.0]
    assert [x.tolist() for x in wg._foreach_mul(xs, 2)] == [[2.0, 8.0], 18.0]
    assert [x.tolist() for x in wg._foreach_norm(xs)] == [pytest.approx(17**0.5), 9.0]
    assert wg._foreach_add_(xs, [1.0, 2.0]) is None
    wg._foreach_mul_(xs, wg.tensor(2.0))
    wg._foreach_div_(xs, [2.0, 1.0])
    wg._foreach_maximum_(xs, 3.0)
    assert [x.tolist() for x in xs] == [[3.0, 5.0], 22.0]
    wg._foreach_addcmul_(xs, xs, xs, 0.5)
    wg._foreach_addcdiv_(xs, xs, xs, [1.0, 2.0])
    wg._foreach_lerp_(xs, xs, 0.3)
    assert [x.tolist() for x in xs] == [[8.5, 18.5], 266.0]
    wg._foreach_zero_(xs)
    assert xs[1].item() == 0.0
    with pytest.raises(wg.errors.ArgumentError, match="different lengths"):
        wg._foreach_add(xs, [1.0])
    with pytest.raises(AttributeError):
        _ = wg._foreach_nothing


def test_questions() -> None:
    x = wg.ones(2, 3)
    assert (x.get_device(), x.is_floating_point(), x.is_complex(), x.is_cpu, x.is_cuda) == (
        -1,
        True,
        False,
        True,
        False,
    )
    assert (x.layout, x.is_pinned(), x.is_conj(), x.is_signed(), x.is_sparse) == (wg.strided, False, False, True, False)
    assert (
        x.pin_memory() is x.share_memory_() is x.resolve_conj() is x.contiguous(memory_format=wg.preserve_format) is x
    )
    assert wg.is_nonzero(wg.tensor([2.0]))
    with pytest.raises(wg.errors.DTypeError, match="cuda"):
        x.cuda()
    with pytest.raises(wg.errors.DTypeError, match="cuda"):
        wg.zeros(2, device="cuda")
    with pytest.raises(TypeError, match="dtpe"):
        wg.zeros(2, dtpe=wg.int64)  # type: ignore[call-arg]


def test_memory_is_shared() -> None:
    a = np.zeros(3, np.float32)
    x = wg.from_dlpack(a)
    a[0] = 5
    assert x.tolist() == [5, 0, 0]
    assert np.from_dlpack(wg.ones(2)).tolist() == [1, 1]
    y = wg.zeros(1).set_(x)
    y[1] = 7
    assert x.tolist() == [5, 7, 0]
    assert y.is_set_to(x)
    assert wg.frombuffer(b"\x01\x02\x03", dtype=wg.uint8, count=2, offset=1).tolist() == [2, 3]


@pytest.mark.parametrize(("shape", "around"), [((3, 3), False), ((5, 2), True), ((2, 2, 2), False)])
def test_fill_diagonal(shape: tuple[int, ...], around: bool) -> None:
    wanted = np.zeros(shape)
    np.fill_diagonal(wanted, 2, wrap=around)
    assert wg.zeros(shape).fill_diagonal_(2, around).tolist() == wanted.tolist()


def test_python_functions_on_elements() -> None:
    assert wg.tensor([1.0, 2.0]).apply_(lambda v: v * v).tolist() == [1.0, 4.0]
    assert wg.tensor([1.0, 2.0]).map_(wg.tensor([3.0, 4.0]), lambda a, b: a * b).tolist() == [3.0, 8.0]


def test_windows() -> None:
    assert wg.hann_window(4).tolist() == pytest.approx([0, 0.5, 1, 0.5])
    assert wg.hann_window(5, periodic=False).tolist() == pytest.approx(np.hanning(5).tolist(), abs=1e-7)
    assert wg.hamming_window(5, False, 0.6, 0.4).tolist() == pytest.approx([0.2, 0.6, 1, 0.6, 0.2])
    assert wg.kaiser_window(5, False, 3.0).tolist() == pytest.approx(np.kaiser(5, 3.0).tolist(), rel=1e-6)


def test_fill() -> None:
    x = wg.zeros(2, requires_grad=True)
    assert wg.fill(x, wg.tensor(3.0)).tolist() == [3.0, 3.0]
    assert x.tolist() == [0.0, 0.0]
    y = wg.ones(2)
    assert wg.zero_(y) is y
    assert y.tolist() == [0.0, 0.0]
