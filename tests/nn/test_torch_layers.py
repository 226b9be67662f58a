"""What golden results cannot show of PyTorch's layers: chance, places, copies, what is refused."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

import wengert as wg
from wengert import nn


@pytest.mark.parametrize(("kind", "dims"), [(nn.Dropout1d, 1), (nn.Dropout2d, 2), (nn.Dropout3d, 3)])
def test_dropout_of_channels(kind: Any, dims: int) -> None:
    y = kind(0.5)(wg.ones(40, 25, *(2,) * dims)).flatten(2)
    assert sorted(set(y.flatten().tolist())) == [0.0, 2.0]
    assert wg.equal(y, y[..., :1].expand(y.shape))
    assert y.mean().item() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("kind", [nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_alpha_dropout_keeps_mean_and_variance(kind: Any) -> None:
    y = kind(0.3)(wg.randn(200, 200, 4))
    assert y.mean().item() == pytest.approx(0.0, abs=0.05)
    assert y.var().item() == pytest.approx(1.0, abs=0.1)


def test_rrelu_draws_slopes() -> None:
    y = nn.RReLU(0.2, 0.4)(wg.full((1000,), -1.0))
    assert -0.4 <= y.min().item() < -0.39
    assert -0.21 < y.max().item() <= -0.2


@pytest.mark.parametrize("size", [{"output_size": (2, 3)}, {"output_ratio": (0.5, 0.6)}])
def test_fractional_pooling(size: Any) -> None:
    x = wg.arange(25.0).reshape(1, 5, 5)
    y, places = nn.FractionalMaxPool2d(2, **size, return_indices=True)(x)
    assert y.shape == (1, 2, 3)
    assert wg.equal(x.flatten()[places.flatten()], y.flatten())
    assert nn.FractionalMaxPool3d(2, output_size=2)(wg.ones(1, 4, 4, 4)).shape == (1, 2, 2, 2)


INPLACE = [nn.SELU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.ELU, nn.CELU, nn.Hardtanh, nn.ReLU6]


@pytest.mark.parametrize("kind", INPLACE)
def test_inplace_activations(kind: Any) -> None:
    x = wg.tensor([-2.0, -0.5, 0.5, 7.0])
    wanted = kind()(x)
    layer = kind(inplace=True)
    assert "inplace=True" in repr(layer)
    assert layer(x) is x
    assert wg.equal(x, wanted)


LAYERS = [
    lambda: nn.LSTM(2, 3, bidirectional=True),
    lambda: nn.GRUCell(2, 3),
    lambda: nn.Transformer(4, 2, 1, 1, 8),
    lambda: nn.ConvTranspose2d(2, 3, 2),
    lambda: nn.BatchNorm3d(2),
    lambda: nn.EmbeddingBag(4, 2),
    lambda: nn.TripletMarginWithDistanceLoss(),
    lambda: nn.PReLU(3),
]


@pytest.mark.parametrize("make", LAYERS, ids=lambda make: type(make()).__name__)
def test_layers_can_be_copied_pickled_and_converted(make: Any) -> None:
    layer = make()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == repr(layer)
        assert all(wg.equal(a, b) for a, b in zip(layer.parameters(), other.parameters(), strict=True))
        assert other.double().load_state_dict(layer.state_dict()).missing_keys == []
        assert all(p.dtype == wg.float64 for p in other.parameters())


def test_a_table_from_elsewhere() -> None:
    bag = nn.EmbeddingBag.from_pretrained(wg.eye(3), mode="sum")
    assert bag(wg.tensor([[0, 2]])).tolist() == [[1.0, 0.0, 1.0]]
    assert not bag.weight.requires_grad
    assert nn.EmbeddingBag.from_pretrained(wg.eye(3), freeze=False).weight.requires_grad
    assert nn.EmbeddingBag(3, 2, padding_idx=-1).weight[2].tolist() == [0.0, 0.0]


REFUSED: list[tuple[Any, str]] = [
    (lambda: nn.ConvTranspose2d(1, 1, 2, padding_mode="reflect"), "padding must be numbers of zeros: 'reflect'"),
    (
        lambda: nn.ConvTranspose1d(1, 1, 2, stride=2)(wg.ones(1, 1, 3), output_size=(9,)),
        "ConvTranspose1d: output_size must be between [6] and [7]: (9,)",
    ),
    (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d: padding needs one number, or 4: (1, 2)"),
    (lambda: nn.GroupNorm(2, 3), "GroupNorm: num_channels must be divisible by num_groups: 3 and 2"),
    (lambda: nn.InstanceNorm2d(3)(wg.ones(2, 3)), "InstanceNorm2d: expected 3D or 4D input: shape (2, 3)"),
    (lambda: nn.InstanceNorm1d(3, affine=True)(wg.ones(2, 2, 4)), "expected 3 channels: shape (2, 2, 4)"),
    (lambda: nn.BatchNorm3d(3)(wg.ones(2, 3)), "BatchNorm3d: expected 5D input: shape (2, 3)"),
    (lambda: nn.FractionalMaxPool2d(2), "give one of output_size and output_ratio"),
    (lambda: nn.FractionalMaxPool2d(2, output_ratio=1.5), "output_ratio must be between 0 and 1: 1.5"),
    (lambda: nn.MultiMarginLoss(p=3), "only p == 1 and p == 2 supported: 3"),
    (lambda: nn.TripletMarginLoss(margin=0.0), "expected margin to be greater than 0: 0.0"),
    (lambda: nn.TripletMarginWithDistanceLoss(margin=-1.0), "expected margin to be greater than 0: -1.0"),
    (lambda: nn.KLDivLoss(reduction="avg"), "Use 'none', 'mean', 'sum' or 'batchmean'"),
    (lambda: nn.HuberLoss(reduction="avg"), "HuberLoss: not a reduction: 'avg'. Use 'none', 'mean' or 'sum'"),
    (lambda: nn.Hardtanh(1.0, -1.0), "min_val must be less than max_val: 1.0 and -1.0"),
    (lambda: nn.AlphaDropout(2.0), "AlphaDropout: dropout probability has to be between 0 and 1, but got: 2.0"),
    (lambda: nn.Softmax2d()(wg.ones(2, 2)), "Softmax2d: expected 3D or 4D input: shape (2, 2)"),
    (lambda: nn.EmbeddingBag(3, 2, padding_idx=3), "EmbeddingBag: padding_idx must be within num_embeddings: 3 of 3"),
    (lambda: nn.Bilinear(0, 2, 2), "Bilinear: in1_features must be at least 1: 0"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
