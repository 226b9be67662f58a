"""Sounds: files, resampling, spectra and masks, against SciPy, written-out formulas and librosa's numbers."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy  # whose parts are imported by their first use

import wengert as wg
from wengert.data import audio as A
from wengert.utils.data import DataLoader

RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal((2, 3, 2000))


def tone(frequency: float, rate: int, length: int) -> Any:
    return np.sin(2 * np.pi * frequency / rate * np.arange(length))


def close(seen: Any, wanted: Any, tolerance: float = 1e-10) -> None:
    seen, wanted = np.asarray(seen.detach().numpy()), np.asarray(wanted)
    assert seen.shape == wanted.shape
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=tolerance * max(1.0, np.abs(wanted).max()))


# --- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [("a.wav", None, 2**-15), ("a.wav", "PCM_24", 2**-23), ("a.wav", "FLOAT", 1e-7), ("a.flac", None, 2**-15),
     ("a.ogg", None, 0.1), ("a.mp3", None, 0.05), ("a.aiff", None, 2**-15)],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2])
def test_write_and_read(tmp_path: Path, name: str, subtype: str | None, tolerance: float, channels: int) -> None:
    waveform = 0.5 * np.stack([tone(440 * (1 + i), 16000, 8000) for i in range(channels)])
    A.write_audio(wg.tensor(waveform), tmp_path / name, 16000, subtype=subtype)
    seen, rate = A.read_audio(tmp_path / name)
    assert rate == 16000 and seen.dtype == wg.float32 and seen.shape == (channels, 8000)
    np.testing.assert_allclose(seen.numpy()[:, 200:-200], waveform[:, 200:-200], atol=tolerance)
    info = A.audio_info(tmp_path / name)
    assert info[:3] == (16000, 8000, channels) and info.duration == 0.5
    part, _ = A.read_audio(tmp_path / name, 100, 50)
    np.testing.assert_allclose(part.numpy(), seen.numpy()[:, 100:150], atol=1e-4)
    mixed, _ = A.read_audio(tmp_path / name, mono=True)
    np.testing.assert_allclose(mixed.numpy(), seen.numpy().mean(0, keepdims=True), atol=1e-7)


def test_numbers_are_stored_as_they_are(tmp_path: Path) -> None:
    exact = np.array([[0, 1, -(2**15), 2**15 - 1]], np.int16)
    A.write_audio(exact, tmp_path / "a.wav", 8000)
    assert (A.read_audio(tmp_path / "a.wav")[0].numpy() * 2**15).tolist() == exact.tolist()
    A.write_audio(np.array([2.0, -2.0, 0.5]), tmp_path / "b.wav", 8000)  # beyond 1: cut off, not wrapped round
    np.testing.assert_allclose(A.read_audio(tmp_path / "b.wav")[0].numpy(), [[1, -1, 0.5]], atol=1e-4)
    A.write_audio(wg.ones(2, 0), tmp_path / "c.wav", 8000)
    assert A.read_audio(tmp_path / "c.wav")[0].shape == (2, 0)
    A.write_audio(wg.ones(1, 9, dtype=wg.float16), tmp_path / "d.flac", 8000)
    assert A.read_audio(tmp_path / "d.flac", 5, 99)[0].shape == (1, 4)


def test_reading_at_another_rate(tmp_path: Path) -> None:
    A.write_audio(0.5 * tone(300, 22050, 22050), tmp_path / "a.wav", 22050, subtype="FLOAT")
    seen, rate = A.read_audio(tmp_path / "a.wav", sample_rate=8000)
    assert rate == 8000 and seen.shape == (1, 8000)
    np.testing.assert_allclose(seen[0, 100:-100].numpy(), 0.5 * tone(300, 8000, 8000)[100:-100], atol=2e-3)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: A.read_audio(p / "no.wav"), FileNotFoundError, "read_audio: no such file: "),
        (lambda p: A.read_audio(p / "text.wav"), ValueError, "read_audio: cannot read the sound: "),
        (lambda p: A.audio_info(p / "text.wav"), ValueError, "audio_info: cannot read the sound: "),
        (lambda p: A.read_audio(p / "a.wav", 6), ValueError, "frame_offset=6, num_frames=-1, 5 frames in the file"),
        (lambda p: A.read_audio(p / "a.wav", 0, -2), ValueError, "needs 0 <= frame_offset"),
        (lambda p: A.write_audio(np.zeros(3), p / "b.xyz", 8000), ValueError, "cannot write the sound: "),
        (lambda p: A.write_audio(np.zeros(3), p / "b.wav", 8000, subtype="VORBIS"), ValueError, "cannot write"),
        (lambda p: A.write_audio(np.zeros((3000, 2)), p / "b.wav", 8000), ValueError, "Is it (channels, time)?"),
        (lambda p: A.write_audio(np.zeros(3, complex), p / "b.wav", 8000), ValueError, "complex128 (3,)"),
        (lambda p: A.write_audio(np.zeros((1, 1, 1)), p / "b.wav", 8000), ValueError, "float64 (1, 1, 1)"),
        (lambda p: A.FixLength(0), ValueError, "length must be positive: 0"),
    ],
)
def test_files_refuse(tmp_path: Path, make: Any, error: type[Exception], words: str) -> None:
    (tmp_path / "text.wav").write_text("text")
    A.write_audio(np.zeros(5), tmp_path / "a.wav", 8000)
    with pytest.raises(error, match=re.escape(words)):
        make(tmp_path)


def test_a_folder_in_a_loader(tmp_path: Path) -> None:
    for name, rate, length in (("low/a.wav", 8000, 4000), ("low/b.flac", 16000, 9000), ("high/c.ogg", 16000, 8000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        A.write_audio(np.stack([tone(200 if "low" in name else 2000, rate, length)] * 2) / 2, tmp_path / name, rate)
    batches = []
    for workers in (0, 2):
        wg.manual_seed(4)
        sounds = A.AudioFolder(tmp_path, 8000, transform=A.FixLength(3000, random=True))
        loader = DataLoader(sounds, batch_size=2, shuffle=True, num_workers=workers)
        batches.append([(waves.tolist(), labels.tolist()) for waves, labels in loader])
        assert len(batches[-1][0][0]) == 2 and len(batches[-1][0][0][0][0]) == 3000
    assert batches[0] == batches[1]
    assert sounds.classes == ["high", "low"] and pickle.loads(pickle.dumps(sounds))[0][1] == 0
    loudest = [A.Spectrogram(800)(sounds[i][0])[0].sum(1).argmax().item() * 10 for i in range(3)]
    assert loudest == [2000, 200, 200]


def test_fix_length() -> None:
    wg.manual_seed(0)
    row = wg.arange(1.0, 8.0)
    cuts = {tuple(A.FixLength(5, random=True)(row).tolist()) for _ in range(60)}
    assert cuts == {(1, 2, 3, 4, 5), (2, 3, 4, 5, 6), (3, 4, 5, 6, 7)}
    padded = {tuple(A.FixLength(3, random=True)(wg.ones(1)).tolist()) for _ in range(60)}
    assert padded == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert A.FixLength(7)(row) is row


# --- resampling ----------------------------------------------------------------------------------------

RATES = [(44100, 16000), (16000, 44100), (8000, 16000), (3, 1), (48000, 44100), (7, 5)]


@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("method", ["sinc_interp_hann", "sinc_interp_kaiser"])
def test_resampling_is_scipys_polyphase_filter(old: int, new: int, method: str) -> None:
    """SciPy is given the same filter, written out on the grid that both rates share."""
    up, down, width = new // math.gcd(old, new), old // math.gcd(old, new), 6
    base = min(up, down) * 0.99
    steps = math.floor(width * up * down / base)
    t = np.arange(-steps, steps + 1) / (up * down) * base
    if method == "sinc_interp_hann":
        window = 0.5 + 0.5 * np.cos(np.pi * t / width)
    else:
        window = scipy.special.i0(14.769656459379492 * np.sqrt(1 - (t / width) ** 2))
        window /= scipy.special.i0(14.769656459379492)
    taps = np.where(t == 0, 1, np.sin(np.pi * t) / np.where(t == 0, 1, np.pi * t)) * window * base / down
    # `resample_poly` takes its window as the filter, and multiplies it with `up`.
    wanted = scipy.signal.resample_poly(NOISE, up, down, axis=-1, window=taps / up)
    close(A.resample(wg.tensor(NOISE), old, new, resampling_method=method), wanted)


@pytest.mark.parametrize(("old", "new"), RATES)
def test_resampling_is_right(old: int, new: int) -> None:
    """A slow sine stays itself; what the new rate cannot hold vanishes; SciPy's own filter agrees."""
    low, high = 0.2 * min(old, new), 0.45 * max(old, new)
    wide = A.Resample(old, new, lowpass_filter_width=64)
    seen = wide(wg.tensor(tone(low, old, 4000))).numpy()
    inner = slice(len(seen) // 4, -len(seen) // 4)
    np.testing.assert_allclose(seen[inner], tone(low, new, len(seen))[inner], atol=2e-3)
    scipys = scipy.signal.resample_poly(tone(low, old, 4000), new, old)
    np.testing.assert_allclose(seen[inner], scipys[inner], atol=5e-3)
    if new < 0.8 * old:
        assert np.abs(wide(wg.tensor(tone(high, old, 4000))).numpy()[inner]).max() < 5e-3


@pytest.mark.slow
def test_resampling_shapes_and_dtypes() -> None:
    x = wg.ones(2, 10)
    assert A.resample(x, 5, 5) is x
    assert A.resample(wg.ones(0), 2, 1).shape == (0,) and A.resample(wg.ones(3, 0, 7), 2, 1).shape == (3, 0, 4)
    assert A.resample(wg.ones(7, dtype=wg.float32), 2, 1).dtype == wg.float32
    close(A.resample(wg.tensor(NOISE).transpose(0, 2), 2, 3), A.resample(wg.tensor(NOISE.T.copy()), 2, 3).numpy())
    x = wg.tensor(NOISE[0, :, :60], requires_grad=True)
    assert wg.testing.gradcheck(lambda x: A.resample(x, 3, 2), (x,))
    module = A.Resample(3, 2, dtype=wg.float32)
    assert not module.state_dict() and module(wg.ones(6)).dtype == wg.float32


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: A.Resample(0, 1), "rates must be positive integers: 0"),
        (lambda: A.Resample(1, 2.5), "rates must be positive integers: 2.5"),
        (lambda: A.Resample(1, 2, "linear"), "resampling_method must be one of sinc_interp_hann, sinc_interp_kaiser"),
        (lambda: A.Resample(1, 2, rolloff=0), "lowpass_filter_width=6, rolloff=0"),
        (lambda: A.Resample(16001, 16000), "the rates have too few divisors in common: 16001 and 16000"),
        (lambda: A.resample(wg.arange(5), 1, 2), "Resample: needs a floating tensor (..., time): Tensor wengert.int64"),
        (lambda: A.resample(wg.tensor(1.0), 1, 2), "needs a floating tensor (..., time): Tensor wengert.float32 ()"),
        (lambda: A.resample(np.ones(9), 1, 2), "needs a floating tensor (..., time): ndarray float64 (9,)"),
    ],
)
def test_resampling_refuses(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        make()


# --- spectra -------------------------------------------------------------------------------------------


@pytest.fixture
def double() -> Any:
    wg.set_default_dtype(wg.float64)
    yield
    wg.set_default_dtype(wg.float32)


@pytest.mark.parametrize(("n_fft", "window", "hop"), [(256, 256, 64), (256, 200, 100), (128, 128, 128)])
@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.usefixtures("double")
def test_spectra_are_scipys(n_fft: int, window: int, hop: int, onesided: bool) -> None:
    hann = scipy.signal.get_window("hann", window)
    around = np.pad(hann, ((n_fft - window) // 2, -((window - n_fft) // 2)))
    padded = np.pad(NOISE, [(0, 0), (0, 0), (n_fft // 2, n_fft // 2)], mode="reflect")
    _, _, wanted = scipy.signal.stft(
        padded, window=around, nperseg=n_fft, noverlap=n_fft - hop, boundary=None, padded=False,
        return_onesided=onesided,
    )  # fmt: skip
    wanted = wanted * around.sum()  # which SciPy divides by
    x, sizes = wg.tensor(NOISE), {"n_fft": n_fft, "win_length": window, "hop_length": hop, "onesided": onesided}
    close(A.Spectrogram(**sizes, power=None)(x), wanted)
    close(A.Spectrogram(**sizes)(x), np.abs(wanted) ** 2)
    close(A.Spectrogram(**sizes, power=1)(x), np.abs(wanted))
    close(A.Spectrogram(**sizes, power=0.5)(x), np.abs(wanted) ** 0.5)
    close(A.Spectrogram(**sizes, power=1, normalized=True)(x), np.abs(wanted) / np.sqrt((hann**2).sum()))
    close(A.Spectrogram(**sizes, power=1, normalized="frame_length")(x), np.abs(wanted) / np.sqrt(n_fft))
    one = A.Spectrogram(**sizes)(x[0, 0])
    close(one, np.abs(wanted[0, 0]) ** 2)


@pytest.mark.usefixtures("double")
def test_the_energy_of_one_frame_is_parsevals() -> None:
    x = NOISE[..., :54]
    seen = A.Spectrogram(64, window_fn=wg.ones, pad=5, center=False, onesided=False)(wg.tensor(x))
    close(seen.sum(-2) / 64, (x**2).sum(-1, keepdims=True))


@pytest.mark.parametrize("normalized", [False, "window", "frame_length"])
@pytest.mark.parametrize("pad", [0, 20])
@pytest.mark.usefixtures("double")
def test_there_and_back(normalized: Any, pad: int) -> None:
    x = wg.tensor(NOISE)
    options = {"n_fft": 128, "hop_length": 32, "normalized": normalized, "pad": pad}
    spectrum = A.Spectrogram(**options, power=None)(x)
    close(A.InverseSpectrogram(**options)(spectrum, 2000), NOISE)
    close(A.InverseSpectrogram(**options)(spectrum[0, 0], 2000), NOISE[0, 0])


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_griffin_lim_finds_the_phases() -> None:
    x = wg.tensor(tone(440, 8000, 4000) * np.linspace(0, 1, 4000))
    make = A.Spectrogram(256, hop_length=64)
    wanted = make(x)
    errors = []
    for steps in (1, 100):
        found = A.GriffinLim(256, steps, hop_length=64, length=4000)(wanted)
        errors.append(((make(found).sqrt() - wanted.sqrt()).norm() / wanted.sqrt().norm()).item())
    assert found.shape == (4000,) and errors[1] < 0.15 < errors[0]
    still = A.GriffinLim(256, 5, hop_length=64, rand_init=False)
    assert wg.equal(still(wanted), still(wanted))


def hertz_to_mel(f: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + f / 700)
    return 3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.usefixtures("double")
def test_mel_filters_by_their_definition(scale: str, norm: str | None) -> None:
    """Each filter rises from the middle of its neighbour to its own, evenly spaced in mel."""
    seen = A.melscale_fbanks(513, 50.0, 7600.0, 20, 16000, norm, scale).numpy()
    marks = np.linspace(hertz_to_mel(50, scale), hertz_to_mel(7600, scale), 22)
    grid = np.linspace(0, 10000, 1_000_001)
    edges = np.interp(marks, [hertz_to_mel(f, scale) for f in grid[::100]], grid[::100])
    for band in range(20):
        corners = edges[band : band + 3]
        wanted = np.interp(np.linspace(0, 8000, 513), corners, [0, 1, 0])
        if norm:
            wanted = wanted * 2 / (corners[2] - corners[0])
        np.testing.assert_allclose(seen[:, band], wanted, atol=1e-3 * wanted.max())


# Columns of librosa 0.11: filters.mel(sr=8000, n_fft=32, n_mels=4, fmin=100, fmax=3800, htk=..., norm=...).T
LIBROSA = {
    ("htk", None): {
        1: [0.45441629, 0, 0, 0], 2: [0.850081986, 0.149918014, 0, 0], 4: [0, 0.842704858, 0.157295142, 0],
        7: [0, 0, 0.790527224, 0.209472776], 10: [0, 0, 0, 0.98902658], 15: [0, 0, 0, 0.038039484],
    },
    ("slaney", "slaney"): {
        1: [0.000778673, 0, 0, 0], 3: [0.001182571, 0.000963902, 0, 0], 4: [0, 0.001924531, 5.5185e-05, 0],
        8: [0, 0, 0.000658266, 0.000465227], 10: [0, 0, 0, 0.000830465], 15: [0, 0, 0, 3.1941e-05],
    },
}  # fmt: skip


@pytest.mark.parametrize(("scale", "norm"), LIBROSA)
@pytest.mark.usefixtures("double")
def test_mel_filters_are_librosas(scale: str, norm: str | None) -> None:
    seen = A.melscale_fbanks(17, 100.0, 3800.0, 4, 8000, norm, scale).numpy()
    for frequency, row in LIBROSA[scale, norm].items():
        np.testing.assert_allclose(seen[frequency], row, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_mel_spectra_and_cepstra() -> None:
    x = wg.tensor(NOISE)
    power = A.Spectrogram(256, 200, 100)(x).numpy()
    bank = A.melscale_fbanks(129, 20.0, 4000.0, 24, 8000, "slaney", "slaney").numpy()
    bands = np.einsum("...ft,fm->...mt", power, bank)
    options = {"n_fft": 256, "win_length": 200, "hop_length": 100, "f_min": 20.0, "n_mels": 24}
    options |= {"norm": "slaney", "mel_scale": "slaney"}
    close(A.MelSpectrogram(8000, **options)(x), bands)
    close(A.MelScale(24, 8000, 20.0, None, 129, "slaney", "slaney")(wg.tensor(power)), bands)
    decibels = 10 * np.log10(np.maximum(bands, 1e-10))
    decibels = np.maximum(decibels, decibels.max((1, 2, 3), keepdims=True) - 80)
    for norm in ("ortho", None):
        wanted = scipy.fft.dct(decibels, axis=-2, norm=norm)[..., :13, :]
        close(A.MFCC(8000, 13, norm=norm, melkwargs=options)(x), wanted, 1e-9)
        logs = scipy.fft.dct(np.log(bands + 1e-6), axis=-2, norm=norm)[..., :13, :]
        close(A.MFCC(8000, 13, norm=norm, log_mels=True, melkwargs=options)(x), logs, 1e-9)


@pytest.mark.usefixtures("double")
def test_decibels() -> None:
    x = np.abs(NOISE[:, :, None, :20]) + 1e-14
    plain = np.log10(np.maximum(x, 1e-10))
    close(A.AmplitudeToDB()(wg.tensor(x)), 10 * plain)
    close(A.AmplitudeToDB("magnitude")(wg.tensor(x)), 20 * plain)
    floor = (10 * plain).max((1, 2, 3), keepdims=True) - 3
    close(A.AmplitudeToDB(top_db=3)(wg.tensor(x)), np.maximum(10 * plain, floor))
    floor = (10 * plain[0]).max() - 3
    close(A.AmplitudeToDB(top_db=3)(wg.tensor(x[0])), np.maximum(10 * plain[0], floor))
    close(A.amplitude_to_DB(wg.tensor(x), 20.0, 1e-3, 0.5), 20 * np.log10(np.maximum(x, 1e-3)) - 10)


CHAINS = [
    lambda: A.Spectrogram(16, power=2),
    lambda: A.MelSpectrogram(8000, 32, n_mels=5, normalized=True),
    lambda: A.MFCC(8000, 3, log_mels=True, melkwargs={"n_fft": 32, "n_mels": 5}),
    lambda: wg.nn.Sequential(A.Resample(3, 2), A.Spectrogram(16, power=None), A.InverseSpectrogram(16)),
]


@pytest.mark.quick(make=CHAINS[:1])
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("make", CHAINS)
def test_gradients_reach_the_waveform(make: Any) -> None:
    x = wg.tensor(NOISE[0, :2, :40], requires_grad=True)
    assert wg.testing.gradcheck(make(), (x,))


def test_silence_has_a_gradient() -> None:
    for power in (1, 2):
        x = wg.zeros(100, requires_grad=True)
        A.AmplitudeToDB(top_db=80)(A.Spectrogram(16, power=power)(x)).sum().backward()
        assert x.grad is not None and x.grad.isfinite().all()


def test_modules_keep_what_torchaudio_keeps() -> None:
    module = A.MFCC(8000, 13, melkwargs={"n_mels": 20})
    keys = ["MelSpectrogram.mel_scale.fb", "MelSpectrogram.spectrogram.window", "dct_mat"]
    assert sorted(module.state_dict()) == keys
    assert module.dct_mat.dtype == wg.float32 and module(wg.randn(800)).dtype == wg.float32
    assert module(wg.randn(800).double()).dtype == wg.float64
    again = pickle.loads(pickle.dumps(module))
    x = wg.randn(2, 800)
    assert wg.equal(again(x), module(x))
    for text in ("MFCC(", "n_fft=400", "n_mels=20", "'power', top_db=80.0"):
        assert text in repr(module)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: A.Spectrogram(100, 200), "needs 0 < win_length <= n_fft and a hop: n_fft=100, win_length=200"),
        (lambda: A.Spectrogram(normalized="x"), "normalized must be True, False, 'window' or 'frame_length': 'x'"),
        (lambda: A.Spectrogram()(wg.tensor(1.0)), "Spectrogram: needs a waveform (..., time): ()"),
        (lambda: A.InverseSpectrogram()(wg.ones(201, 3)), "needs complex (..., frequencies, frames): wengert.float32"),
        (lambda: A.GriffinLim(momentum=1), "momentum must be from 0 to less than 1: 1"),
        (lambda: A.melscale_fbanks(5, 0, 10, 2, 20, "x"), "norm must be None or 'slaney'"),
        (lambda: A.melscale_fbanks(5, 10, 10, 2, 20), "needs 0 <= f_min < f_max and positive sizes: f_min=10"),
        (lambda: A.MelScale(2)(wg.ones(5, 3)), "needs spectra (..., 201, frames): (5, 3)"),
        (lambda: A.AmplitudeToDB("loud"), "needs 'power' or 'magnitude' and top_db >= 0: stype='loud'"),
        (lambda: A.AmplitudeToDB(top_db=1)(wg.ones(3)), "needs spectra (..., frequencies, frames): (3,)"),
        (lambda: A.create_dct(2, 2, "x"), "norm must be None or 'ortho': 'x'"),
        (lambda: A.MFCC(dct_type=3), "dct_type must be 2: 3"),
        (lambda: A.MFCC(8000, 41, melkwargs={"n_mels": 40}), "no more coefficients than mel bands: n_mfcc=41"),
    ],
)
def test_spectra_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


def test_empty_mel_filters_are_told() -> None:
    with pytest.warns(UserWarning, match=r"a filter holds no frequency: n_mels=128, n_freqs=33"):
        A.MelScale(128, n_stft=33)


# --- masks ---------------------------------------------------------------------------------------------


def runs(zeros: Any) -> list[int]:
    """Lengths of the runs of True in a row."""
    return [len(run) for run in "".join("x" if zero else " " for zero in zeros).split()]


@pytest.mark.quick(make=[A.TimeMasking], each=[True])
@pytest.mark.parametrize(("make", "axis"), [(A.FrequencyMasking, -2), (A.TimeMasking, -1)])
@pytest.mark.parametrize("each", [False, True])
def test_masks(make: Any, axis: int, each: bool) -> None:
    seen = []
    for _ in range(200):
        out = (make(6, iid_masks=each)(wg.ones(3, 2, 20, 30)) == 0).numpy()
        rows = np.moveaxis(out, axis, -1)
        assert (rows == rows[..., :1, :]).all()
        flat = rows[..., 0, :].reshape(6, -1)
        assert each or (flat == flat[0]).all()
        assert all(len(runs(row)) <= 1 for row in flat)
        seen += [tuple(row) for row in (flat if each else flat[:1])]
    lengths = [sum(row) for row in seen]
    assert set(lengths) == set(range(6))
    places = {row.index(True) for row in seen if sum(row) == 1}
    size = (20, 30)[axis + 2]
    assert min(places) < size / 4 and max(places) > size * 3 / 4
    with_value = make(6)(wg.ones(20, 30), 7.0)
    assert set(with_value.unique().tolist()) <= {1.0, 7.0}


def test_mask_bounds() -> None:
    x = wg.ones(4, 10)
    assert A.TimeMasking(0)(x) is x and A.TimeMasking(9, p=0.05)(x) is x
    for _ in range(50):
        assert (A.TimeMasking(100, p=0.3)(x)[0] == 0).sum() < 3
        assert (A.TimeMasking(100)(x)[0] == 0).sum() < 10
    wg.manual_seed(3)
    first = A.TimeMasking(9)(x)
    wg.manual_seed(3)
    assert wg.equal(A.TimeMasking(9)(x), first)


def test_spec_augment() -> None:
    x = wg.randn(4, 1, 40, 60, requires_grad=True)
    out = A.SpecAugment(2, 15, 3, 8)(x)
    changed = (out != x).numpy()
    filled = out.detach().numpy()[changed]
    np.testing.assert_allclose(filled, np.full_like(filled, x.mean().item()), rtol=1e-5)
    out.sum().backward()
    assert x.grad is not None
    share = changed.sum() / changed.size
    np.testing.assert_allclose(x.grad.numpy(), ~changed + share, atol=1e-4)
    assert not (changed[0] == changed[1]).all()
    zeros = A.SpecAugment(1, 15, 1, 8, iid_masks=False, zero_masking=True)(wg.ones(4, 40, 60))
    assert wg.equal(zeros[0], zeros[3])
    assert "n_freq_masks=3" in repr(A.SpecAugment(2, 15, 3, 8))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: A.TimeMasking(-1), "needs mask_param >= 0 and p from 0 to 1: mask_param=-1, p=1.0"),
        (lambda: A.SpecAugment(1, 2, 1, 2, p=2), "mask_param=2, p=2"),
        (lambda: A.FrequencyMasking(3)(wg.ones(3)), "axis must be one of the last two of a spectrum: shape (3,)"),
        (lambda: A.mask_along_axis(wg.ones(3, 3, 3), 2, 0.0, 0), "axis must be one of the last two"),
    ],
)
def test_masks_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        make()
