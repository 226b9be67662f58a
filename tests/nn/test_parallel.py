"""Modules of parallel programs on one device, and what is made of a network without initial values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F

# --- SyncBatchNorm -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm2d, (4, 3, 2, 5)), (nn.BatchNorm3d, (2, 3, 2, 2, 2))]
)
@pytest.mark.parametrize(
    "settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"bias": False}], ids=str
)
def test_sync_batch_norm_is_batch_norm(kind: Any, shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    one, other = kind(3, **settings), nn.SyncBatchNorm(3, **settings)
    for _ in range(3):
        x = wg.randn(*shape) * 3 + 1
        assert wg.equal(one(x), other(x))
    assert wg.equal(one.eval()(x), other.eval()(x))
    for (a, v), (b, w) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert a == b and wg.equal(v, w)


def test_batch_norms_are_converted() -> None:
    net = nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3, momentum=0.3), nn.Sequential(nn.BatchNorm1d(3, affine=False))
    )
    net(wg.randn(5, 2))
    net[2].eval()
    state, norm = {k: v.clone() for k, v in net.state_dict().items()}, net[1]
    found = nn.SyncBatchNorm.convert_sync_batchnorm(net, "group")
    assert found is net and isinstance(net[1], nn.SyncBatchNorm) and isinstance(net[2][0], nn.SyncBatchNorm)
    assert net[1].weight is norm.weight and net[1].momentum == 0.3 and net[1].process_group == "group"
    assert net[1].training and not net[2][0].training and net[2][0].weight is None
    assert all(wg.equal(v, state[k]) for k, v in net.state_dict().items()) and list(net.state_dict()) == list(state)
    alone = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    assert type(alone) is nn.SyncBatchNorm and alone.running_mean is norm.running_mean
    with pytest.raises(ValueError, match="expected at least 2D input"):
        alone(wg.ones(3))


# --- DataParallel ------------------------------------------------------------------------------------


def test_data_parallel_is_the_module() -> None:
    net = nn.Linear(3, 2)
    wrapped = nn.DataParallel(net, device_ids=[0, 1], output_device=0)
    x = wg.randn(4, 3)
    assert wg.equal(wrapped(x), net(x)) and wrapped.module is net and wrapped.device_ids == []
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    wrapped(x).sum().backward()
    assert net.weight.grad is not None
    net.load_state_dict({k.removeprefix("module."): v for k, v in wrapped.state_dict().items()})
    assert wg.equal(nn.parallel.data_parallel(net, (x,)), net(x))

    class Pair(nn.Module):
        def forward(self, x: Any, *, scale: Any) -> Any:
            return x * scale

    assert wg.equal(nn.DataParallel(Pair())(x, scale=2.0), x * 2)
    assert wg.equal(nn.parallel.data_parallel(Pair(), x, module_kwargs={"scale": 2.0}), x * 2)


# --- skip_init ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (nn.Linear, (4, 3)), (nn.Conv2d, (2, 4, 3)), (nn.LSTMCell, (3, 4)), (nn.Embedding, (5, 2)),
        (nn.LayerNorm, (4,)), (nn.MultiheadAttention, (4, 2)), (nn.Bilinear, (2, 3, 4)),
        (nn.TransformerEncoderLayer, (4, 2)),
    ],
)  # fmt: skip
def test_nothing_is_drawn(kind: Any, args: tuple[int, ...]) -> None:
    wg.manual_seed(3)
    first = wg.rand(3)
    wg.manual_seed(3)
    module = nn.utils.skip_init(kind, *args, dtype=wg.float64)
    assert wg.equal(wg.rand(3), first)
    full = kind(*args)
    assert [(k, v.shape) for k, v in module.state_dict().items()] == [
        (k, v.shape) for k, v in full.state_dict().items()
    ]
    assert all(p.dtype == wg.float64 and p.requires_grad for p in module.parameters())
    if kind is nn.Linear:
        assert not module.weight.any()
        module.reset_parameters()
        assert module.weight.all()


def test_skipping_ends_also_by_an_error() -> None:
    with pytest.raises(ValueError, match="in_features"):
        nn.utils.skip_init(nn.Linear, -1, 2)
    assert nn.Linear(2, 2).weight.any()
    with pytest.raises(ValueError, match="expected a class of modules"):
        nn.utils.skip_init(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="the module must take an argument 'device': ReLU"):
        nn.utils.skip_init(nn.ReLU)


# --- old names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["uniform", "normal", "eye", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal"],
)
def test_old_names_of_initialisers(name: str) -> None:
    def filled(function: Any) -> Any:
        wg.manual_seed(0)
        return function(wg.empty(4, 4))

    with pytest.warns(FutureWarning, match=f"nn.init.{name} is now deprecated in favor of nn.init.{name}_"):
        old = filled(getattr(nn.init, name))
    assert wg.equal(old, filled(getattr(nn.init, f"{name}_")))


def test_other_old_names() -> None:
    with pytest.warns(FutureWarning, match="constant_"):
        assert nn.init.constant(wg.empty(2), 3.0).tolist() == [3.0, 3.0]
    with pytest.warns(FutureWarning, match="sparse_"):
        nn.init.sparse(wg.empty(4, 4), 0.5)
    with pytest.warns(FutureWarning, match="dirac_"):
        nn.init.dirac(wg.empty(2, 2, 3))
    p = nn.Parameter(wg.zeros(2))
    p.grad = wg.tensor([3.0, 4.0])
    with pytest.warns(FutureWarning, match="clip_grad_norm_"):
        assert nn.utils.clip_grad_norm([p], 1.0).item() == 5.0
    assert wg.allclose(p.grad, wg.tensor([0.6, 0.8]))
    logs, target = wg.randn(2, 3, 4, 4).log_softmax(1), wg.randint(0, 3, (2, 4, 4))
    with pytest.warns(FutureWarning, match="NLLLoss2d has been deprecated"):
        old = nn.NLLLoss2d(ignore_index=1)
    assert wg.equal(old(logs, target), nn.NLLLoss(ignore_index=1)(logs, target))


def test_attention_needs_no_choice_of_a_kernel() -> None:
    from wengert.nn.attention import SDPBackend, sdpa_kernel

    q = wg.randn(2, 5, 4)
    want = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    for backends in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        with sdpa_kernel(backends, set_priority=True):
            assert wg.equal(F.scaled_dot_product_attention(q, q, q, is_causal=True), want)
    with pytest.raises(TypeError, match="takes SDPBackend members: str"), sdpa_kernel(["math"]):  # type: ignore[list-item]
        pass


def test_memory_formats_change_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3))
    assert nn.utils.convert_conv2d_weight_memory_format(net, wg.channels_last) is net
    assert nn.utils.convert_conv3d_weight_memory_format(net, wg.channels_last_3d) is net
    with pytest.raises(ValueError, match="memory_format must be one of"):
        nn.utils.convert_conv2d_weight_memory_format(net, "channels_last")


# --- functions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2, "padding": 2}],
    ids=["plain", "2", "groups"],
)
def test_gradients_of_convolutions(rank: int, options: dict[str, int]) -> None:
    convolution = getattr(F, f"conv{rank}d")
    x = wg.randn(2, 4, *(7, 6, 5)[:rank], dtype=wg.float64, requires_grad=True)
    w = wg.randn(6, 4 // options.get("groups", 1), *(3, 2, 3)[:rank], dtype=wg.float64, requires_grad=True)
    y = convolution(x, w, **options)
    g = wg.randn(*y.shape, dtype=wg.float64, requires_grad=True)
    want = wg.autograd.grad(y, (x, w), g, create_graph=True)
    of_input, of_weight = (getattr(nn.grad, f"conv{rank}d_{part}") for part in ("input", "weight"))
    got = of_input(x.shape, w, g, **options), of_weight(x, w.shape, g, **options)
    for a, b in zip(got, want, strict=True):
        assert wg.allclose(a, b, rtol=1e-10)
    seconds = [wg.autograd.grad((a * a).sum() + (b * b).sum(), (x, w, g)) for a, b in (got, want)]
    assert all(wg.allclose(a, b, rtol=1e-9) for a, b in zip(*seconds, strict=True))


def test_pools_that_give_indices() -> None:
    x = wg.randn(2, 3, 8, 8)
    for name, settings in (
        ("max_pool2d", {"kernel_size": 3, "stride": 2}),
        ("adaptive_max_pool2d", {"output_size": 3}),
    ):
        wanted = getattr(F, name)(x, **settings, return_indices=True)
        function = getattr(F, f"{name}_with_indices")
        for got in (function(x, *settings.values()), function(input=x, return_indices=False, **settings)):
            assert all(wg.equal(a, b) for a, b in zip(got, wanted, strict=True))
        assert function.__name__ == f"{name}_with_indices"
    samples = wg.rand(2, 3, 2)
    found = F.fractional_max_pool2d_with_indices(x, 2, output_size=3, _random_samples=samples)
    assert wg.equal(found[0], F.fractional_max_pool2d(x, 2, output_size=3, _random_samples=samples))
    assert wg.equal(x.flatten(2).gather(2, found[1].flatten(2)).reshape(found[0].shape), found[0])


def test_convolution_with_the_time_first() -> None:
    x, w, b = (np.random.default_rng(0).standard_normal(s) for s in ((7, 2, 3), (3, 3, 4), (4,)))
    padded = np.pad(x, ((1, 1), (0, 0), (0, 0)))
    want = sum(padded[k : k + 7] @ w[k] for k in range(3)) + b
    np.testing.assert_allclose(F.conv_tbc(*map(wg.tensor, (x, w, b)), pad=1).numpy(), want)
    with pytest.raises(ValueError, match="the weight must have 3 dimensions"):
        F.conv_tbc(wg.ones(2, 3, 4), wg.ones(2, 3), wg.ones(3))
    images = wg.randn(1, 6, 2, 2)
    assert wg.equal(F.native_channel_shuffle(images, 3), F.channel_shuffle(images, 3))
