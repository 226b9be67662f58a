"""A convolutional net hears sounds as pictures of their spectra.

    python examples/spectrogram_sounds.py [--smoke]

Hershey et al. 2017. Data, synthesised: half-second sounds of six kinds at any pitch in noise, written as WAV files, one
folder a kind, and read back. A rising and a falling tone have the same spectrum on average, and so have a steady and a
beating one, if one does not hear when; at this noise an ear tells them all. So of the test sounds the net should get
95 % right; softmax regression on mean spectra shows how far one comes without time. Other sounds choose the epoch.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim
from wengert.data import audio
from wengert.models import SpectrogramNet

RATE, SAMPLES = 8000, 4000
KINDS = ("beating", "bell", "falling", "noise", "rising", "steady")  # in the order of their folders


def sound(kind, rng):
    """A waveform (SAMPLES) from -1 to 1."""
    t = np.arange(SAMPLES) / RATE
    pitch = rng.uniform(300, 1500)
    sweep = {"rising": 1.0, "falling": -1.0}.get(kind, 0.0) * rng.uniform(0.7, 1.2)  # octaves in half a second
    frequency = pitch * 2 ** (sweep * (2 * t - 0.5))
    wave = np.sin(2 * np.pi * (np.cumsum(frequency) / RATE + rng.random()))
    if kind == "beating":
        wave = wave * np.sin(2 * np.pi * rng.uniform(4, 8) * t)
    elif kind == "bell":
        partials = [np.sin(2 * np.pi * pitch * k * t) / k for k in (1.0, 2.76, 5.4) if pitch * k < RATE / 2]
        wave = sum(partials) * np.exp(-t * rng.uniform(8, 16))
    elif kind == "noise":
        wave = rng.standard_normal(SAMPLES) * 0.7
    wave = wave * rng.uniform(0.2, 0.6) + 0.05 * rng.standard_normal(SAMPLES)
    return wave / max(1.0, np.abs(wave).max())


def recorded(count, rng):
    """Waveforms (6 count, SAMPLES) and kinds (6 count), from files that are written and read."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            (Path(folder) / kind).mkdir()
            for n in range(count):
                audio.write_audio(wg.tensor(sound(kind, rng)).float(), Path(folder) / kind / f"{n}.wav", RATE)
        sounds = audio.AudioFolder(folder, RATE)
        assert tuple(sounds.classes) == KINDS
        pairs = [sounds[i] for i in range(len(sounds))]
    return wg.cat([wave for wave, _ in pairs]), wg.tensor([kind for _, kind in pairs])


def accuracy(net, x, y):
    net.eval()
    with wg.no_grad():
        return (wg.cat([net(part) for part in x.split(100)]).argmax(1) == y).float().mean().item()


def fit(net, train, valid, rate, epochs):
    """The net gets the weights of the epoch that is best on the validation sounds."""
    (x, y), best, kept = train, -1.0, {}
    optimizer = optim.AdamW(net.parameters(), lr=rate)
    for epoch in range(epochs):
        net.train()
        for batch in wg.randperm(len(x)).split(48):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = accuracy(net, *valid)
        if right >= best:
            best, kept = right, {name: v.clone() for name, v in net.state_dict().items()}
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1:2d}: loss {loss.item():.3f}, {100 * right:.1f} % of the validation sounds right")
    net.load_state_dict(kept)


def main(smoke=False):
    wg.manual_seed(0)
    rng = np.random.default_rng(0)
    train, valid, test = [recorded(n, rng) for n in ((8, 2, 2) if smoke else (120, 40, 60))]
    net = SpectrogramNet(len(KINDS), n_fft=128, hop_length=64)
    spectra = [(net.spectrogram(x).mean(2), y) for x, y in (train, valid, test)]
    linear = nn.Linear(65, len(KINDS))
    fit(linear, *spectra[:2], 0.01, 1 if smoke else 100)
    blind = accuracy(linear, *spectra[2])

    fit(net, train, valid, 0.005, 1 if smoke else 15)
    reached = accuracy(net, *test)
    print(f"softmax regression on mean spectra: {100 * blind:.1f} % of {len(test[1])} test sounds right")
    print(f"{100 * reached:.1f} % of the test sounds right (wanted 95 %)")
    return smoke or reached >= 0.95


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
