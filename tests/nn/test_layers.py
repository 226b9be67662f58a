"""What layers do besides their values: starting values, modes, arguments that are refused."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

import wengert as wg
from wengert import nn
from wengert.nn.stateless import functional_call


def test_linear_starts_within_its_bound() -> None:
    layer = nn.Linear(100, 200)
    for p in layer.parameters():
        assert p.requires_grad
        assert p.abs().max().item() <= 0.1
        assert p.abs().max().item() > 0.09
        assert p.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)


def test_linear_is_reproducible() -> None:
    def draw() -> Any:
        wg.manual_seed(3)
        return nn.Linear(4, 5)

    assert wg.equal(draw().weight, draw().weight)
    assert wg.equal(draw().bias, draw().bias)


def test_linear_dtype_and_shape() -> None:
    layer = nn.Linear(3, 2, bias=False, dtype=wg.float64, device="cpu")
    assert layer.weight.dtype == wg.float64
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    assert nn.Linear(0, 2)(wg.ones(4, 0)).shape == (4, 2)


def test_linear_with_a_tensor_in_the_place_of_its_weight() -> None:
    layer = nn.Linear(2, 1)
    del layer.weight
    layer.weight = wg.tensor([[1.0, 2.0]])
    layer.bias = None
    assert layer(wg.ones(1, 2)).tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((2.5, 1), "Linear: in_features must be an integer: 2.5"),
        ((2, True), "Linear: out_features must be an integer: True"),
        ((-1, 1), "Linear: in_features must be at least 0: -1"),
    ],
)
def test_linear_refuses(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        nn.Linear(*arguments)


def test_linear_with_the_wrong_input() -> None:
    with pytest.raises(RuntimeError) as error:
        nn.Linear(3, 2)(wg.ones(4, 5))
    assert "5" in str(error.value)
    assert "3" in str(error.value)


def test_dropout() -> None:
    x = wg.ones(1000)
    layer = nn.Dropout(0.25)
    y = layer(x)
    assert sorted(set(y.tolist())) == pytest.approx([0.0, 4 / 3])
    assert y.mean().item() == pytest.approx(1.0, abs=0.1)
    assert not wg.equal(layer(x), y)
    assert wg.equal(layer.eval()(x), x)
    assert nn.Dropout(1.0)(x).sum().item() == 0
    assert wg.equal(nn.Dropout(0.0)(x), x)
    assert repr(layer) == "Dropout(p=0.25, inplace=False)"
    with pytest.raises(ValueError, match=r"dropout probability has to be between 0 and 1, but got: 1\.5"):
        nn.Dropout(1.5)


@pytest.mark.parametrize("make", [nn.ReLU, nn.SiLU, nn.LeakyReLU], ids=["relu", "silu", "leaky"])
def test_inplace_activations(make: Any) -> None:
    x = wg.tensor([-2.0, -1.0, 0.5])
    wanted = make()(x)
    assert x.tolist() == [-2.0, -1.0, 0.5]
    layer = make(inplace=True)
    assert layer(x) is x
    assert wg.equal(x, wanted)
    assert "inplace=True" in repr(layer)


def test_losses_refuse_unknown_reductions() -> None:
    with pytest.raises(ValueError, match=r"MSELoss: not a reduction: 'avg'\. Use 'none', 'mean' or 'sum'"):
        nn.MSELoss(reduction="avg")
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
        nn.CrossEntropyLoss(label_smoothing=1.5)


@pytest.mark.parametrize(
    ("arguments", "reduction"),
    [
        ({"size_average": False}, "sum"),
        ({"reduce": False}, "none"),
        ({"size_average": True, "reduce": True}, "mean"),
    ],
)
def test_losses_know_the_old_switches(arguments: dict[str, bool], reduction: str) -> None:
    with pytest.warns(UserWarning, match=f"use reduction='{reduction}' instead"):
        assert nn.L1Loss(**arguments).reduction == reduction


def test_class_weights_are_state() -> None:
    loss = nn.CrossEntropyLoss(weight=wg.ones(3))
    assert list(loss.state_dict()) == ["weight"]
    assert loss.double().weight.dtype == wg.float64
    assert list(nn.BCEWithLogitsLoss(pos_weight=wg.ones(2)).state_dict()) == ["pos_weight"]


# --- Parameter -----------------------------------------------------------------------------------------


def test_parameter() -> None:
    data = wg.ones(2)
    p = nn.Parameter(data)
    assert isinstance(p, wg.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    assert type(p + 1) is wg.Tensor
    assert nn.Parameter().shape == (0,)
    assert not nn.Parameter(wg.tensor([1, 2]), requires_grad=False).requires_grad
    data.zero_()
    assert p.tolist() == [1.0, 1.0]
    graph = nn.Parameter(nn.Parameter(data) * 2)
    assert graph.is_leaf


def test_parameter_refuses() -> None:
    with pytest.raises(TypeError, match=r"Parameter: takes a tensor: list. Wrap the data: wengert.tensor\(data\)"):
        nn.Parameter([1.0])
    with pytest.raises(TypeError, match="only floating"):
        nn.Parameter(wg.tensor([1, 2]))


# --- functional_call -----------------------------------------------------------------------------------


def test_functional_call_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False))
    weight = net[1].weight
    x = wg.ones(1, 2)
    before = net(x)
    swapped = functional_call(net, {"1.weight": wg.zeros(1, 2)}, (x,))
    assert swapped.tolist() == [[0.0]]
    assert net[1].weight is weight
    assert wg.equal(net(x), before)
    with pytest.raises(RuntimeError):
        functional_call(net, {"1.weight": wg.zeros(7)}, x)
    assert net[1].weight is weight


def test_functional_call_is_differentiable_in_what_is_given() -> None:
    layer = nn.Linear(2, 1, bias=False)
    w = wg.ones(1, 2, requires_grad=True)
    functional_call(layer, {"weight": w * 2}, wg.ones(1, 2)).sum().backward()
    assert w.grad.tolist() == [[2.0, 2.0]]
    assert layer.weight.grad is None


def test_functional_call_replaces_shared_parameters() -> None:
    layer = nn.Linear(1, 1, bias=False)
    net = nn.Sequential(layer, layer)
    assert functional_call(net, {"0.weight": wg.tensor([[3.0]])}, wg.ones(1, 1)).item() == 9.0
    assert functional_call(net, [{"0.weight": wg.tensor([[3.0]])}, {}], wg.ones(1, 1)).item() == 9.0


def test_functional_call_refuses_names() -> None:
    net = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"unexpected \['wieght'\]"):
        functional_call(net, {"wieght": wg.ones(1, 1)}, wg.ones(1, 1))
    with pytest.raises(ValueError, match=r"missing \['bias'\]"):
        functional_call(net, {"weight": wg.ones(1, 1)}, wg.ones(1, 1), strict=True)
    with pytest.raises(ValueError, match="appears in several dictionaries"):
        functional_call(net, [{"bias": wg.ones(1)}, {"bias": wg.ones(1)}], wg.ones(1, 1))


# --- convolution, pooling, normalisation, embedding ----------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Conv2d(3, 4, 2, groups=2), "Conv2d: in_channels must be divisible by groups: 3 and 2"),
        (lambda: nn.Conv2d(4, 3, 2, groups=2), "Conv2d: out_channels must be divisible by groups: 3 and 2"),
        (lambda: nn.Conv2d(1, 1, (1, 2, 3)), "Conv2d: kernel_size needs one number, or 2: (1, 2, 3)"),
        (lambda: nn.Conv2d(1, 1, 0), "Conv2d: kernel_size must be at least 1: 0"),
        (lambda: nn.Conv1d(1, 1, 2, stride=1.5), "Conv1d: stride must be an integer: 1.5"),
        (lambda: nn.Conv3d(1, 1, 2, padding=-1), "Conv3d: padding must be at least 0: -1"),
        (
            lambda: nn.Conv2d(1, 1, 2, padding="full"),
            "Conv2d: padding must be numbers, 'same' or 'valid': 'full'",
        ),
        (lambda: nn.Conv2d(1, 1, 2, stride=2, padding="same"), "padding='same' is not supported for strided"),
        (lambda: nn.Conv2d(1, 1, 2, padding_mode="mirror"), "Conv2d: padding_mode must be one of"),
        (lambda: nn.LayerNorm((2, 0.5)), "LayerNorm: normalized_shape must be an integer: 0.5"),
        (lambda: nn.BatchNorm1d(-1), "BatchNorm1d: num_features must be at least 0: -1"),
        (
            lambda: nn.BatchNorm1d(2)(wg.ones(1, 2, 1, 1)),
            "BatchNorm1d: expected 2D or 3D input: shape (1, 2, 1, 1)",
        ),
        (lambda: nn.BatchNorm2d(2)(wg.ones(1, 2)), "BatchNorm2d: expected 4D input: shape (1, 2)"),
        (
            lambda: nn.Embedding(3, 2, padding_idx=3),
            "Embedding: padding_idx must be within num_embeddings: 3 of 3",
        ),
        (
            lambda: nn.Embedding.from_pretrained(wg.ones(3)),
            "Embedding: embeddings must be a matrix: shape (3,)",
        ),
    ],
)
def test_other_layers_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


def test_convolution_starts_within_its_bound() -> None:
    layer = nn.Conv2d(4, 50, 5)
    for p in layer.parameters():
        assert 0.09 < p.abs().max().item() <= 0.1
    assert layer.weight.shape == (50, 4, 5, 5)
    assert nn.Conv2d(4, 6, 3, groups=2).weight.shape == (6, 2, 3, 3)


def test_batch_norm_averages() -> None:
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [wg.randn(8, 2) + k for k in (0.0, 4.0)]
    for batch in batches:
        layer(batch)
    assert layer.num_batches_tracked.item() == 2
    mean = (batches[0].mean(0) + batches[1].mean(0)) / 2
    assert layer.running_mean.tolist() == pytest.approx(mean.tolist(), abs=1e-6)
    before = layer.running_mean.tolist()
    layer.eval()(batches[0])
    assert layer.running_mean.tolist() == before
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0.0, 0.0]
    assert layer.running_var.tolist() == [1.0, 1.0]
    assert layer.num_batches_tracked.item() == 0
    assert list(nn.BatchNorm1d(2, track_running_stats=False).state_dict()) == ["weight", "bias"]


def test_embedding_tables() -> None:
    table = nn.Embedding.from_pretrained(wg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert not table.weight.requires_grad
    assert table(wg.tensor([1, 0])).tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert nn.Embedding.from_pretrained(wg.ones(2, 2), freeze=False).weight.requires_grad
    padded = nn.Embedding(5, 3, padding_idx=-1)
    assert padded.padding_idx == 4
    assert padded.weight[4].tolist() == [0.0, 0.0, 0.0]
    assert padded.weight.requires_grad
    with pytest.raises(IndexError):
        table(wg.tensor([2]))
