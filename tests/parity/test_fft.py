"""Fourier transforms as torch computes them: values, dtypes and gradients."""

from __future__ import annotations

import numpy as np
import pytest

# PyTorch warns when a signal is padded.
pytestmark = pytest.mark.filterwarnings("ignore:The length of signal:UserWarning")

ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
MANY = ("fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn")
REAL = ("rfft", "ihfft", "rfftn", "ihfftn", "rfft2", "ihfft2")


def sample(shape, is_complex):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if is_complex else x


def inputs(name):
    return (False,) if name in REAL else (False, True)


@pytest.mark.parametrize(
    "arguments", ["", "n=3", "n=8", "dim=0", "norm='ortho'", "norm='forward'", "n=4, dim=0", "n=1"]
)
@pytest.mark.parametrize("name", ONE)
def test_one_dimension(agree, name, arguments):
    for is_complex in inputs(name):
        for shape in [(5,), (6,), (3, 2, 4)]:
            agree(f"T.fft.{name}(a, {arguments})", dtypes=(), a=sample(shape, is_complex))


@pytest.mark.parametrize(
    "arguments", ["", "s=(3,)", "s=(3, 4)", "dim=(0,)", "dim=(1, 0)", "s=(2, 6), dim=(0, -1), norm='ortho'",
                  "norm='forward'", "s=(-1, 3)"]
)  # fmt: skip
@pytest.mark.parametrize("name", MANY)
def test_several_dimensions(agree, name, arguments):
    for is_complex in inputs(name):
        for shape in [(3, 4), (2, 3, 5)]:
            agree(f"T.fft.{name}(a, {arguments})", dtypes=(), a=sample(shape, is_complex))


@pytest.mark.parametrize("name", [n[:-1] + "2" for n in MANY])
def test_two_dimensions(agree, name):
    for is_complex in inputs(name):
        for arguments in ("", "s=(3, 4)", "norm='ortho'"):
            agree(f"T.fft.{name}(a, {arguments})", dtypes=(), a=sample((2, 3, 5), is_complex))


@pytest.mark.parametrize("name", ["fftshift", "ifftshift"])
def test_shifts(agree, name):
    for shape in [(4,), (5,), (3, 4), (1,), (0,)]:
        agree(f"T.fft.{name}(a)", dtypes=(), a=sample(shape, False))
        agree(f"T.fft.{name}(a, dim=(-1,))", dtypes=(), a=sample(shape, True))


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_frequencies(agree, n):
    agree(f"[T.fft.fftfreq({n}, 0.5), T.fft.rfftfreq({n}), T.fft.fftfreq({n}, dtype=T.float64)]")


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.complex64])
def test_dtypes(agree, dtype):
    x = np.array([1, 0, 1, 1], dtype)
    agree("T.fft.fft(const)", dtypes=(), tol=1e4, const=x)
    agree("T.fft.irfft(const)", dtypes=(), tol=1e4, const=x)


WINDOW = np.hanning(10)[1:9] + 0.1
FORMS = ["", "hop_length=4", "center=False", "normalized=True", "onesided=False", "hop_length=3",
         "pad_mode='constant'", "pad_mode='replicate'", "pad_mode='circular'"]  # fmt: skip


@pytest.mark.parametrize("arguments", FORMS)
def test_stft(agree, arguments):
    for shape in [(32,), (3, 32)]:
        x = sample(shape, False)
        agree(f"T.stft(a, 8, window=w, return_complex=True, {arguments})", dtypes=(), a=x, w=WINDOW)
        agree(f"a.stft(8, win_length=6, window=w[1:7], return_complex=True, {arguments})", dtypes=(), a=x, w=WINDOW)
        if "onesided" not in arguments:
            agree(f"T.stft(a, 8, window=w, {arguments})", dtypes=(), a=sample(shape, True), w=WINDOW)


@pytest.mark.parametrize("arguments", ["", "center=False", "normalized=True", "length=20", "length=40", "hop_length=3"])
def test_istft(agree, arguments):
    for shape in [(5, 9), (2, 5, 9)]:
        agree(f"T.istft(a, 8, window=w, {arguments})", dtypes=(), a=sample(shape, True), w=WINDOW)
    agree(f"T.istft(a, 8, window=w, onesided=False, {arguments})", dtypes=(), a=sample((8, 9), True), w=WINDOW)
    rest = f"onesided=False, return_complex=True, {arguments}"
    agree(f"T.istft(a, 8, window=w, {rest})", dtypes=(), a=sample((8, 9), True), w=WINDOW)
