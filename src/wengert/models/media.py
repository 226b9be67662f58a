"""Convolutional networks for sounds and for moving images."""

from __future__ import annotations

from collections.abc import Sequence

from .. import api
from ..nn import BatchNorm2d, BatchNorm3d, Conv2d, Conv3d, Linear, MaxPool2d, MaxPool3d, Module, ReLU, Sequential
from ..tensor import Tensor


class SpectrogramNet(Module):
    """Classifies sounds: the logarithm of their power spectrogram is an image for a convolutional net.

    Args:
        num_classes: length of the output.
        n_fft: samples in a frame, whose Fourier transform gives n_fft / 2 + 1 frequencies.
        hop_length: samples from frame to frame.
        channels: of the convolutions; a pooling by two follows each.

    Shape:
        input waveforms (N, samples) of real numbers, output logits (N, num_classes).
        `spectrogram` gives (N, n_fft / 2 + 1, frames) in nepers of power, differentiable.

    Source: Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017 (the approach).

    >>> import wengert as wg
    >>> from wengert.models import SpectrogramNet
    >>> SpectrogramNet(3, channels=(4, 8))(wg.randn(2, 4000)).shape
    wengert.Size([2, 3])
    """

    def __init__(
        self, num_classes: int, n_fft: int = 256, hop_length: int = 128, channels: Sequence[int] = (8, 16, 32)
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", api.hann_window(n_fft), persistent=False)
        layers: list[Module] = [BatchNorm2d(1)]
        for before, after in zip((1, *channels), channels):
            layers += [Conv2d(before, after, 3, padding=1, bias=False), BatchNorm2d(after), ReLU(), MaxPool2d(2)]
        self.features = Sequential(*layers)
        self.output = Linear(channels[-1], num_classes)

    def spectrogram(self, x: Tensor) -> Tensor:
        """Logarithm of the power at each frequency and frame."""
        z = api.stft(x, self.n_fft, self.hop_length, window=self.window, return_complex=True)
        return (z.real**2 + z.imag**2 + 1e-6).log()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        return self.output(self.features(self.spectrogram(x).unsqueeze(1)).mean((2, 3)))


class VideoNet(Module):
    """Classifies clips by convolutions over time, height and width.

    Args:
        num_classes: length of the output.
        in_channels: of a frame.
        channels: of the convolutions of 3 by 3 by 3; a pooling by two follows each (the first not over time).

    Shape:
        input (N, in_channels, frames, H, W), output logits (N, num_classes).

    Source: Tran et al., "Learning spatiotemporal features with 3D convolutional networks", ICCV 2015, smaller, with
    batch norm and a mean over what is left in place of its full layers.

    >>> import wengert as wg
    >>> from wengert.models import VideoNet
    >>> VideoNet(3, channels=(4, 8))(wg.randn(2, 3, 8, 16, 16)).shape
    wengert.Size([2, 3])
    """

    def __init__(self, num_classes: int, in_channels: int = 3, channels: Sequence[int] = (8, 16, 32)) -> None:
        super().__init__()
        layers: list[Module] = []
        for k, (before, after) in enumerate(zip((in_channels, *channels), channels)):
            layers += [Conv3d(before, after, 3, padding=1, bias=False), BatchNorm3d(after), ReLU()]
            layers.append(MaxPool3d((1, 2, 2) if k == 0 else 2))
        self.features = Sequential(*layers)
        self.output = Linear(channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        return self.output(self.features(x).mean((2, 3, 4)))


__all__ = ["SpectrogramNet", "VideoNet"]
