"""The networks of `wengert.models`: every parameter takes part, sizes are the papers', wrong sizes are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import models
from wengert.models import GPT, MLP, LeNet, ResNetCIFAR
from wengert.nn import functional as F


def vit() -> models.VisionTransformer:
    """One whose classifier does not start at zero, so that gradients pass from the first step on."""
    net = models.VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=3, in_channels=1)
    wg.nn.init.normal_(net.heads.head.weight)
    return net


CASES: dict[str, Any] = {
    "MLP": (lambda: MLP([12, 8, 6, 3]), (4, 3, 4), 12 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3),
    "LeNet": (lambda: LeNet(3), (4, 1, 28, 28), None),
    "AlexNet": (lambda: models.AlexNet(3, 0.0, width=0.05), (4, 3, 63, 63), None),
    "VGG": (lambda: models.VGG(11, 3, True, 0.0, width=0.1), (4, 3, 32, 32), None),
    "ResNet": (lambda: models.ResNet((1, 1, 1, 1), 3, width=0.1), (4, 3, 32, 32), None),
    "plain net": (lambda: models.ResNet((1, 1, 1, 1), 3, plain=True, width=0.1), (4, 3, 32, 32), None),
    "sounds": (lambda: models.SpectrogramNet(3, 64, 32, (4, 8)), (4, 500), None),
    "clips": (lambda: models.VideoNet(3, 1, (4, 8)), (4, 1, 4, 8, 8), None),
    "LeNet of colours": (lambda: LeNet(3, in_channels=3), (4, 3, 32, 32), None),
    "ViT": (vit, (4, 1, 8, 8), None),
    "ResNet-8": (lambda: ResNetCIFAR(1, 3, 1), (4, 1, 8, 8), None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_parameter_learns(name: str) -> None:
    make, shape, count = CASES[name]
    wg.manual_seed(0)
    model, x, y = make(), wg.randn(*shape), wg.tensor([0, 1, 2, 0])
    if count is not None:
        assert sum(p.numel() for p in model.parameters()) == count
    optimizer = wg.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum().item() > 0 for p in model.parameters()), name
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_gpt() -> None:
    net = GPT(1000, block_size=128, layers=2, heads=12, width=96)
    block = 12 * 96**2 + 13 * 96  # weights of attention and network, biases, two norms
    assert sum(p.numel() for p in net.parameters()) == (1000 + 128) * 96 + 2 * block + 2 * 96
    small = GPT(5, block_size=4, layers=1, heads=1, width=4)
    small.loss(wg.tensor([[0, 1, 2, 3, 4]])).backward()
    assert all(p.grad is not None for p in small.parameters())
    assert small.loss(wg.tensor([[0, 1, 2, 3, 4]])).item() == pytest.approx(1.609, abs=0.1)  # log 5 at the start
    with pytest.raises(ValueError, match="at most 4 in all"):
        small(wg.zeros(1, 5).long())
    with pytest.raises(ValueError, match="heads must divide"):
        GPT(5, heads=3, width=4)


def count(net: Any) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.slow
def test_published_sizes() -> None:
    """The numbers of parameters that papers and model cards name."""
    assert count(LeNet()) == 61_706  # LeCun et al. 1998: 60,000, with fewer connections in the second convolution
    assert count(models.resnet20()) == 269_722  # He et al. 2016, table 6: 0.27 M
    assert count(models.GCN(1433, 16, 7)) == 23_063  # Kipf and Welling 2017, for Cora
    assert count(models.GAT(1433, 8, 7)) == 92_373  # Veličković et al. 2018, for Cora
    base = models.Seq2SeqTransformer(8, 8)  # Vaswani et al. 2017, table 3: 65 M, with 37000 tokens shared by all three
    attention, feed, norm = 4 * (512 * 512 + 512), 2 * 512 * 2048 + 2048 + 512, 2 * 512
    layers = 6 * (attention + feed + 2 * norm) + 6 * (2 * attention + feed + 3 * norm) + 2 * norm
    assert count(base) == layers + 2 * 8 * 512 + 8 * 512 + 8
    assert count(base.transformer) + 37_000 * 512 == pytest.approx(65e6, rel=0.03)


def test_plain_net_has_no_shortcuts() -> None:
    plain, residual = models.plain34(num_classes=4, width=0.1), models.resnet34(num_classes=4, width=0.1)
    shortcuts = {name for name in residual.state_dict() if "downsample" in name}
    assert len(shortcuts) == 3 * 6
    assert set(plain.state_dict()) == set(residual.state_dict()) - shortcuts
    block = models.BasicBlock(3, 3)
    for p in block.parameters():
        p.detach().zero_()
    x = wg.rand(2, 3, 4, 4)
    assert wg.equal(block(x), x)
    block.plain = True
    assert not block(x).any()


def trained(net: Any, loss: Any, steps: int, lr: float = 0.01) -> float:
    """The loss after some steps of Adam, in which every parameter took part."""
    optimizer = wg.optim.Adam(net.parameters(), lr=lr)
    value = wg.tensor(0.0)
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        assert all(p.grad is not None for p in net.parameters())
        optimizer.step()
    return value.item()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_language_model(kind: str) -> None:
    wg.manual_seed(0)
    net = models.RNNLanguageModel(5, 6, 12, kind, num_layers=2)
    line = wg.tensor([[0, 1, 2, 2, 3, 4] * 4])
    assert net.loss(line).item() == pytest.approx(1.6, abs=0.3)
    assert trained(net, lambda: net.loss(line), 150) < 0.1
    assert net.generate(line[:, :6], 8, temperature=0).tolist() == [[0, 1, 2, 2, 3, 4, 0, 1, 2, 2, 3, 4, 0, 1]]
    # The state continues a sequence as if it had been given at once.
    whole, _ = net(line)
    _, state = net(line[:, :7])
    rest, _ = net(line[:, 7:], state)
    assert wg.allclose(whole[:, 7:], rest, atol=1e-5)
    assert net.train().generate(line[:, :1], 2).shape == (1, 3)
    assert net.training
    with pytest.raises(ValueError, match=r"the prompt must be \(batch, length\)"):
        net.generate(line[:, :0], 2)
    with pytest.raises(ValueError, match="kind must be rnn, lstm or gru"):
        models.RNNLanguageModel(5, 6, 12, "cnn")


@pytest.mark.slow
def test_transformer_reverses() -> None:
    wg.manual_seed(0)
    net = models.Seq2SeqTransformer(6, 6, 16, 2, 1, 1, 32, dropout=0.0, max_length=8, norm_first=True)
    source = wg.tensor([[2, 3, 4], [4, 3, 2], [5, 2, 0], [3, 5, 0]])  # 0 pads, and begins and ends the target
    mask = source > 0
    target = wg.tensor([[0, 4, 3, 2, 0], [0, 2, 3, 4, 0], [0, 2, 5, 0, 0], [0, 5, 3, 0, 0]])
    assert trained(net, lambda: F.cross_entropy(net(source, target[:, :-1], mask).mT, target[:, 1:]), 120) < 0.05
    net.eval()
    assert net.greedy(source, 0, 0, 4, mask).tolist() == target[:, 1:].tolist()
    # Neither what stands in the padding nor a later token changes an output.
    filled = wg.where(mask, source, wg.full_like(source, 3))
    later = target.clone()
    later[:, 3:] = 5
    assert wg.allclose(net(source, target, mask)[:, :3], net(filled, later, mask)[:, :3], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("crf", [False, True])
def test_tagger(crf: bool) -> None:
    wg.manual_seed(0)
    net = models.LSTMTagger(6, 3, 8, 8, crf)
    words, mask = wg.tensor([[1, 2, 3, 4], [5, 1, 0, 0]]), wg.tensor([[True] * 4, [True, True, False, False]])
    tags = wg.tensor([[0, 1, 2, 0], [2, 1, 0, 0]])
    assert trained(net, lambda: net.loss(words, tags, mask), 60, 0.03) < 0.1
    assert net.decode(words, mask) == [[0, 1, 2, 0], [2, 1]]
    other = wg.where(mask, words, wg.full_like(words, 4))
    assert wg.allclose(net(words, mask)[mask], net(other, mask)[mask], atol=1e-6)
    assert net.loss(words, tags, mask).item() == pytest.approx(net.loss(other, tags + 1 - mask.long(), mask).item())


@pytest.mark.quick(kind=["GCN"])
@pytest.mark.parametrize("kind", ["GCN", "GAT"])
def test_node_classifiers(kind: str) -> None:
    """Two triangles joined by one edge, of each of which one node has a label."""
    wg.manual_seed(0)
    pairs = wg.tensor([[0, 1], [1, 2], [2, 0], [3, 4], [4, 5], [5, 3], [2, 3]]).T
    edges, known = wg.cat([pairs, pairs.flip(0)], 1), wg.tensor([0, 5])
    net = models.GCN(6, 8, 2, dropout=0.0) if kind == "GCN" else models.GAT(6, 4, 2, heads=2, dropout=0.0)
    labels = wg.tensor([0, 0, 0, 1, 1, 1])
    assert trained(net, lambda: F.cross_entropy(net(wg.eye(6), edges)[known], labels[known]), 60) < 0.1
    assert net(wg.eye(6), edges).argmax(1).tolist() == labels.tolist()
    assert len(models.GCN(6, 8, 2, layers=4).state_dict()) == 8


@pytest.mark.slow
def test_autoencoders() -> None:
    wg.manual_seed(0)
    x = (wg.arange(8).unsqueeze(0) % wg.tensor([[2], [3], [4], [8]]) == 0).float()
    net = models.Autoencoder([8, 16, 2])
    assert count(net) == (8 * 16 + 16) + (16 * 2 + 2) + (2 * 16 + 16) + (16 * 8 + 8)
    assert trained(net, lambda: F.binary_cross_entropy_with_logits(net(x), x), 200) < 0.05
    vae = models.VAE([8, 16, 2])
    assert trained(vae, lambda: vae.bound(x), 200) < vae.code_size + 8 * 0.69
    logits, mean, log_var = vae(x)
    assert (logits.shape, mean.shape, log_var.shape) == ((4, 8), (4, 2), (4, 2))
    sample = vae.sample(5)
    assert sample.shape == (5, 8) and 0 <= sample.min().item() <= sample.max().item() <= 1


def test_bound_of_a_code_without_information() -> None:
    """All weights zero: the code is N(0, 1), so nothing diverges, and each value costs log 2."""
    vae = models.VAE([8, 4, 2])
    for p in vae.parameters():
        p.detach().zero_()
    assert vae.bound(wg.rand(3, 8)).item() == pytest.approx(8 * 0.6931472)


def test_spectrogram_is_numpys() -> None:
    x = wg.randn(2, 300, dtype=wg.float64)
    seen = models.SpectrogramNet(3, 64, 16).double().spectrogram(x).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (32, 32)), mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    frames = np.stack([np.fft.rfft(padded[:, t : t + 64] * window) for t in range(0, 301, 16)], -1)
    np.testing.assert_allclose(seen, np.log(np.abs(frames) ** 2 + 1e-6), rtol=1e-6, atol=1e-6)


def test_refused() -> None:
    with pytest.raises(ValueError, match="depth must be 11, 13, 16 or 19: 12"):
        models.VGG(12)
    with pytest.raises(ValueError, match="width must be positive"):
        models.AlexNet(width=0)
    with pytest.raises(ValueError, match="patch_size must divide image_size: 3 and 8"):
        models.VisionTransformer(8, 3, 1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"the images must be \(batch, channels, 8, 8\): shape \(1, 3, 4, 8\)"):
        models.VisionTransformer(8, 4, 1, 1, 8, 8)(wg.zeros(1, 3, 4, 8))
