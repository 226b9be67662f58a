"""Optimizers and schedules take torch's steps (stored by tests/parity/golden.py)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn, optim
from wengert.optim import lr_scheduler

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
CASES = [pytest.param(dtype, case, id=f"{dtype} {case['optimizer']}") for dtype in TOLERANCE for case in GOLDEN[dtype]]


def parameters(dtype: str) -> list[nn.Parameter]:
    return [nn.Parameter(wg.tensor(start, dtype=getattr(wg, dtype))) for start in GOLDEN["trajectory"]["start"]]


def follow(optimizer: optim.Optimizer, steps: slice, dtype: str) -> None:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for gradients in GOLDEN["trajectory"]["gradients"][steps]:
        for p, gradient in zip(params, gradients):
            p.grad = wg.tensor(gradient, dtype=getattr(wg, dtype))
            if isinstance(optimizer, optim.SparseAdam):
                p.grad = wg.where(p.grad.abs() < 0.5, wg.zeros_like(p.grad), p.grad)
        optimizer.step()


def close(params: list[Any], wanted: list[Any], dtype: str) -> None:
    for seen, value in zip(params, wanted, strict=True):
        seen = seen.detach().numpy() if isinstance(seen, wg.Tensor) else seen
        np.testing.assert_allclose(seen, np.array(value), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.quick(dtype=["float64"])
@pytest.mark.parametrize(("dtype", "case"), CASES)
def test_ten_steps(dtype: str, case: dict[str, Any]) -> None:
    params = parameters(dtype)
    optimizer = eval(case["optimizer"], {"optim": optim, "params": params})
    follow(optimizer, slice(0, 1), dtype)
    close(params, case["first"], dtype)
    follow(optimizer, slice(1, 10), dtype)
    close(params, case["tenth"], dtype)
    assert all(p.grad.tolist() for group in optimizer.param_groups for p in group["params"])
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [group["params"] for group in case["groups"]]
    for number, wanted in case["state"].items():
        seen = state["state"].get(int(number), {})
        kept = {name: value for name, value in wanted.items() if value is not None}
        assert seen.keys() == kept.keys()
        close(list(seen.values()), [kept[name] for name in seen], dtype)


@pytest.mark.parametrize(("dtype", "case"), CASES)
@pytest.mark.slow
def test_steps_that_are_recorded_are_the_same(dtype: str, case: dict[str, Any]) -> None:
    """While something looks on, the same formulas run on tensors instead of arrays."""
    params = parameters(dtype)
    optimizer = eval(case["optimizer"], {"optim": optim, "params": params})
    with wg.record() as recording:
        follow(optimizer, slice(0, 10), dtype)
    close(params, case["tenth"], dtype)
    assert len(recording.nodes) > 20


@pytest.mark.quick(dtype=["float64"])
@pytest.mark.parametrize(("dtype", "case"), CASES)
def test_going_on_from_torchs_state(dtype: str, case: dict[str, Any]) -> None:
    """A state that torch saved is loaded, and the next steps are those of an optimizer that never stopped."""
    unbroken_params = parameters(dtype)
    unbroken = eval(case["optimizer"], {"optim": optim, "params": unbroken_params})
    follow(unbroken, slice(0, 10), dtype)
    params = [nn.Parameter(p.detach().clone()) for p in unbroken_params]
    resumed = eval(case["optimizer"], {"optim": optim, "params": params})
    state = {
        int(number): {k: None if v is None else np.array(v) for k, v in entry.items()}
        for number, entry in case["state"].items()
    }
    resumed.load_state_dict({"state": state, "param_groups": case["groups"]})
    follow(unbroken, slice(0, 3), dtype)
    follow(resumed, slice(0, 3), dtype)
    close(params, [p.tolist() for p in unbroken_params], dtype)


@pytest.mark.parametrize("case", GOLDEN["schedules"], ids=lambda case: case["schedule"])
def test_schedules(case: dict[str, Any]) -> None:
    params = [nn.Parameter(wg.ones(1)) for _ in range(2)]
    optimizer = optim.SGD([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], lr=0.1)
    names = {"S": lr_scheduler, "W": optim.swa_utils, "optimizer": optimizer}
    schedule = eval(case["schedule"], names)
    for epoch, rates in enumerate(case["rates"]):
        if epoch == 10:  # stop and go on from the saved state
            saved = copy.deepcopy(schedule.state_dict())
            kept = copy.deepcopy([{**group, "params": None} for group in optimizer.param_groups])
            schedule = eval(case["schedule"], names)
            schedule.load_state_dict(saved)
            for group, options in zip(optimizer.param_groups, kept, strict=True):
                group.update({key: value for key, value in options.items() if key != "params"})
        optimizer.step()
        schedule.step(*([] if case["measures"] is None else [case["measures"][epoch]]))
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(rates, rel=1e-12)
        assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
    assert [group["momentum"] for group in optimizer.param_groups] == pytest.approx(case["momenta"], rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["optimizer"], marks=[pytest.mark.slow] if case["calls"] > 100 else [])
        for case in GOLDEN["rosenbrock"]
    ],
)
def test_lbfgs_on_rosenbrocks_function(case: dict[str, Any]) -> None:
    p = nn.Parameter(wg.tensor([-1.2, 1.0, 0.5], dtype=wg.float64))
    optimizer = eval(case["optimizer"], {"optim": optim, "params": [p]})

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((1 - p[:-1]) ** 2 + 100 * (p[1:] - p[:-1] ** 2) ** 2).sum()
        loss.backward()
        return loss

    losses = []
    for _ in range(10):
        losses.append(optimizer.step(closure).item())
        fresh = eval(case["optimizer"], {"optim": optim, "params": [p]})  # stop and go on from the saved state
        fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        optimizer = fresh
    # Each step multiplies the differences of rounding, so the last ones show at fewer digits.
    assert losses[:5] == pytest.approx(case["losses"][:5], rel=1e-9)
    assert p.tolist() == pytest.approx(case["end"], rel=1e-5)
    assert optimizer.state[p]["func_evals"] == case["calls"]
