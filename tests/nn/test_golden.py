"""Layers and losses give torch's values and gradients (stored by tests/parity/golden.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import init

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
TOLERANCE = {wg.float64: 1e-10, wg.float32: 1e-5, wg.int64: 0}
dtypes = pytest.mark.parametrize("dtype", [wg.float64, wg.float32], ids=str)


# torch's derivative of hardsigmoid is 1/6 rounded to float32, in float64 as well.
LOOSE = {"nn.Hardsigmoid()": 1e-7}


def close(seen: wg.Tensor, wanted: Any, dtype: Any, loose: float = 0.0) -> None:
    assert seen.dtype == dtype
    wanted = np.array(wanted)
    assert tuple(seen.shape) == wanted.shape
    # Relative to the largest element, as the rounding is that of sums.
    rtol = max(TOLERANCE[dtype], loose)
    atol = rtol * max(1.0, np.abs(wanted).max(initial=0.0, where=np.isfinite(wanted)))
    np.testing.assert_allclose(seen.detach().numpy(), wanted, rtol=rtol, atol=atol)


@pytest.mark.quick(dtype=[wg.float64])
@dtypes
@pytest.mark.parametrize("case", GOLDEN["layers"], ids=lambda case: case["module"])
def test_layers(case: dict[str, Any], dtype: Any) -> None:
    module = eval(case["module"], {"nn": nn}).to(dtype)
    lazy = "Lazy" in case["module"]
    assert lazy or repr(module) == case["repr"]
    assert list(module.state_dict()) == list(case["state"])
    module.load_state_dict({name: wg.tensor(value, dtype=dtype) for name, value in case["state"].items()})
    floating = case["input_grad"] is not None
    x = wg.tensor(case["input"], dtype=dtype if floating else wg.int64, requires_grad=floating)
    y = module(x)
    close(y, case["output"], dtype)
    y.backward(wg.tensor(case["upstream"], dtype=dtype))
    assert repr(module) == case["repr"]
    if floating:
        close(x.grad, case["input_grad"], dtype, LOOSE.get(case["module"], 0.0))
    grads = {name: p.grad for name, p in module.named_parameters()}
    assert list(grads) == list(case["grads"])
    for name, grad in grads.items():
        close(grad, case["grads"][name], dtype)
    buffers = dict(module.named_buffers())
    assert list(buffers) == list(case["buffers"])
    for name, buffer in buffers.items():
        close(buffer, case["buffers"][name], dtype if buffer.dtype.is_floating_point else wg.int64)


@pytest.mark.quick(dtype=[wg.float64])
@dtypes
@pytest.mark.filterwarnings("ignore:reduction")  # KLDivLoss says that "mean" is not the divergence, as torch does
@pytest.mark.parametrize("case", GOLDEN["losses"], ids=lambda case: case["module"])
def test_losses(case: dict[str, Any], dtype: Any) -> None:
    tensors = {name: wg.tensor(value, dtype=dtype) for name, value in case["tensors"].items()}
    loss = eval(case["module"], {"nn": nn, **tensors})
    x = wg.tensor(case["input"], dtype=dtype, requires_grad=True)
    floating = np.array(case["target"]).dtype.kind == "f"
    value = loss(x, wg.tensor(case["target"], dtype=dtype if floating else wg.int64))
    close(value, case["output"], dtype)
    value.sum().backward()
    close(x.grad, case["input_grad"], dtype)


def flat(values: Any) -> list[Any]:
    """All tensors in nested tuples, in order."""
    return [y for part in values for y in flat(part)] if isinstance(values, tuple) else [values]


@pytest.mark.quick(dtype=[wg.float64])
@dtypes
@pytest.mark.parametrize("case", GOLDEN["calls"], ids=lambda case: case["module"])
def test_calls(case: dict[str, Any], dtype: Any) -> None:
    module = eval(case["module"], {"nn": nn}).to(dtype)
    assert repr(module) == case["repr"]
    assert list(module.state_dict()) == list(case["state"])
    module.load_state_dict({name: wg.tensor(value, dtype=dtype) for name, value in case["state"].items()})
    given = {
        name: wg.tensor(value, dtype=dtype, requires_grad=True)
        if np.array(value).dtype.kind == "f"
        else wg.tensor(value)
        for name, value in case["inputs"].items()
    }
    outputs = flat(eval(case["call"], {"nn": nn, "m": module, **given}))
    assert len(outputs) == len(case["outputs"])
    for seen, wanted in zip(outputs, case["outputs"], strict=True):
        close(seen, wanted, dtype if seen.dtype.is_floating_point else wg.int64)
    sum((k + 1) * y.sin().sum() for k, y in enumerate(outputs) if y.dtype.is_floating_point).backward()
    for name, wanted in case["input_grads"].items():
        close(given[name].grad, wanted, dtype)
    grads = dict(module.named_parameters())
    assert list(grads) == list(case["grads"])
    for name, wanted in case["grads"].items():
        if wanted is not None:
            close(grads[name].grad, wanted, dtype)


@pytest.mark.parametrize("text", GOLDEN["gains"])
def test_gains(text: str) -> None:
    assert eval(text, {"init": init}) == pytest.approx(GOLDEN["gains"][text])


def test_learning_curve() -> None:
    case = GOLDEN["curve"]
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    net.load_state_dict({name: wg.tensor(value, dtype=wg.float64) for name, value in case["state"].items()})
    x, y = wg.tensor(case["input"], dtype=wg.float64), wg.tensor(case["target"])
    optimizer = wg.optim.Adam(net.parameters(), lr=0.05)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(case["losses"], rel=1e-10)
