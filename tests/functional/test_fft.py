"""Fourier transforms against NumPy and SciPy; their derivatives; short-time transforms against loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from wengert.graph.handle import wrap
from wengert.ops.testpoints import complexes, floats
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
MANY = ("fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn")
REAL_INPUT = ("rfft", "ihfft", "rfftn", "ihfftn")


def sample(name, *shape):
    return floats(*shape) if name in REAL_INPUT else complexes(*shape)


def same(got, want):
    assert got._value.shape == want.shape
    assert got._value.dtype == want.dtype
    np.testing.assert_allclose(got._value, want, 1e-12, 1e-12)


@pytest.mark.quick(norm=[None, "ortho"])
@pytest.mark.parametrize("norm", [None, "backward", "forward", "ortho"])
@pytest.mark.parametrize("name", ONE)
def test_one_dimension(name, norm):
    for shape, n, dim in [((5,), None, -1), ((6,), 4, 0), ((2, 5), 8, 1), ((4, 3), None, 0), ((2,), 1, 0)]:
        x = sample(name, *shape)
        got = getattr(wg.fft, name)(wrap(x), n, dim, norm)
        same(got, getattr(scipy.fft, name)(x, n, dim, norm))


@pytest.mark.parametrize("norm", [None, "forward", "ortho"])
@pytest.mark.parametrize("name", MANY)
def test_several_dimensions(name, norm):
    for shape, s, dim in [((4,), None, None), ((3, 4), None, None), ((2, 3, 4), (3, 6), (0, -1)), ((3, 4), (5,), (0,))]:
        x = sample(name, *shape)
        same(getattr(wg.fft, name)(wrap(x), s, dim, norm), getattr(scipy.fft, name)(x, s, dim, norm))
        two = name[:-1] + "2"
        if len(shape) > 1:
            same(getattr(wg.fft, two)(wrap(x), norm=norm), getattr(scipy.fft, two)(x, norm=norm))


def test_sizes_without_dimensions_mean_the_last_ones():
    x = complexes(2, 3, 4)
    same(wg.fft.fftn(wrap(x), (5, -1)), np.fft.fftn(x, (5, 4), (1, 2)))


@pytest.mark.parametrize("name", [*ONE, *MANY])
def test_derivatives(name):
    for shape in [(3, 4), (2, 5)]:
        p = Point(lambda x: [getattr(wg.fft, name)(x, norm="ortho")], [sample(name, *shape)])
        check_first_order(p)
        check_second_order(p)
        check_vmap(p.f, p.arrays)


def test_padding_and_cutting_have_derivatives():
    for n in (2, 7):
        p = Point(lambda x, n=n: [wg.fft.irfft(wg.fft.rfft(x, n), 5)], [floats(4)])
        check_first_order(p)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("float32", "complex64"), ("float64", "complex128"), ("int64", "complex64"), ("bool", "complex64"),
     ("complex64", "complex64")],
)  # fmt: skip
def test_dtypes(given, wanted):
    x = wg.ones(4, dtype=getattr(wg, given))
    assert wg.fft.fft(x).dtype is getattr(wg, wanted)
    assert wg.fft.irfft(x).dtype is getattr(wg, wanted).to_real()


def test_round_trip_of_odd_and_even_sizes():
    for n in (1, 2, 5, 6):
        x = floats(n)
        same(wg.fft.irfft(wg.fft.rfft(wrap(x)), n), x)
        same(wg.fft.hfft(wg.fft.ihfft(wrap(x)), n), x)


def test_frequencies():
    for n in (1, 2, 5, 6):
        same(wg.fft.fftfreq(n, 0.5, dtype=wg.float64), np.fft.fftfreq(n, 0.5))
        same(wg.fft.rfftfreq(n, 0.5, dtype=wg.float64), np.fft.rfftfreq(n, 0.5))
    assert wg.fft.fftfreq(3).dtype is wg.float32


def test_shifts():
    for shape, dim in [((4,), None), ((5,), None), ((3, 4), (1,)), ((3, 4), None), ((0,), None)]:
        x = floats(*shape)
        same(wg.fft.fftshift(wrap(x), dim), np.fft.fftshift(x, dim))
        same(wg.fft.ifftshift(wrap(x), dim), np.fft.ifftshift(x, dim))
    check_first_order(Point(lambda x: [wg.fft.fftshift(x)], [floats(3, 4)]))


# -- short-time transforms ----------------------------------------------------------------------


def loop_stft(x, n, hop, window, center):
    """Frame by frame."""
    if center:
        x = np.pad(x, n // 2, mode="reflect")
    frames = [x[s : s + n] * window for s in range(0, len(x) - n + 1, hop)]
    return np.stack([np.fft.rfft(f) for f in frames], 1)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("hop", [2, 3])
def test_stft_is_the_transform_of_each_frame(hop, center):
    x, window = floats(30), np.hanning(9)[:8] + 0.1
    got = wg.stft(wrap(x), 8, hop, window=wrap(window), center=center, return_complex=True)
    same(got, loop_stft(x, 8, hop, window, center))


def test_stft_forms():
    x = wrap(floats(2, 30))
    whole = wg.stft(x, 8, return_complex=True)
    assert whole.shape == (2, 5, 16)
    assert wg.stft(x, 8, return_complex=False).shape == (2, 5, 16, 2)
    both = wg.stft(x, 8, onesided=False, return_complex=True)
    np.testing.assert_allclose(both._value[:, :5], whole._value)
    np.testing.assert_allclose(both._value[:, 5:], whole._value[:, 3:0:-1].conj(), atol=1e-12)
    scaled = wg.stft(x, 8, normalized=True, return_complex=True)
    np.testing.assert_allclose(scaled._value * 8**0.5, whole._value)


@pytest.mark.parametrize("onesided", [True, False])
def test_istft_gives_the_signal_back(onesided):
    x, window = floats(2, 32), np.hanning(9)[:8] + 0.1
    z = wg.stft(wrap(x), 8, window=wrap(window), onesided=onesided, return_complex=True)
    back = wg.istft(z, 8, window=wrap(window), length=32, onesided=onesided)
    np.testing.assert_allclose(back._value, x, atol=1e-12)
    assert wg.istft(z, 8, window=wrap(window), length=40, onesided=onesided).shape == (2, 40)


def test_complex_signal():
    x = complexes(32)
    z = wg.stft(wrap(x), 8)
    assert z.shape == (8, 17)
    back = wg.istft(z, 8, onesided=False, return_complex=True)
    np.testing.assert_allclose(back._value, x[: back.shape[0]], atol=1e-12)


def test_short_time_derivatives():
    window = wrap(np.hanning(7)[:6] + 0.1)
    check_first_order(Point(lambda x: [wg.stft(x, 6, 2, window=window, return_complex=True)], [floats(14)]))
    p = Point(lambda z, w: [wg.istft(z, 6, 2, window=w)], [complexes(4, 5), floats(6) ** 2 + 0.5])
    check_first_order(p)
    check_second_order(p)


ERRORS = [
    ("wg.fft.rfft(wg.ones(3, dtype=wg.complex64))", DTypeError, "rfft: needs real numbers"),
    ("wg.fft.fft(wg.ones(3, dtype=wg.float16))", DTypeError, "half precision"),
    ("wg.fft.fft(wg.ones(3), norm='x')", ArgumentError, "no such norm: 'x'"),
    ("wg.fft.fft(wg.ones(3), dim=2)", IndexRangeError, "dimension out of range"),
    ("wg.fft.fft(wg.ones(3), n=0)", ShapeError, "at least one element"),
    ("wg.fft.irfft(wg.ones(1))", ShapeError, "0 is no size"),
    ("wg.fft.fftn(wg.ones(3, 3), dim=(0, 0))", IndexRangeError, "appears twice"),
    ("wg.fft.fftn(wg.ones(3), s=(2, 2))", ShapeError, "more sizes than dimensions"),
    ("wg.fft.fftfreq(0)", ArgumentError, "n must be positive"),
    ("wg.stft(wg.ones(20), 8)", ArgumentError, "return_complex must be given"),
    ("wg.stft(wg.ones(4), 8, center=False, return_complex=True)", ArgumentError, "frames do not fit"),
    ("wg.stft(wg.ones(20), 8, window=wg.ones(5), return_complex=True)", ShapeError, "win_length elements"),
    ("wg.istft(wg.ones(4, 5, dtype=wg.complex64), 8)", ShapeError, "sizes do not fit"),
    ("wg.istft(wg.ones(5, 5, dtype=wg.complex64), 8, window=wg.zeros(8))", ArgumentError, "all windows are 0"),
]


@pytest.mark.parametrize(("text", "kind", "match"), ERRORS, ids=[t for t, *_ in ERRORS])
def test_errors(text, kind, match):
    with pytest.raises(kind, match=match):
        eval(text)
