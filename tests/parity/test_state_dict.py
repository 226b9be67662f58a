"""State dictionaries go to torch and come from torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import wengert as wg
from wengert import nn, optim


def pair() -> tuple[Any, Any]:
    """The same network in both libraries, with different weights."""
    return tuple(
        lib.Sequential(lib.Linear(3, 4), lib.BatchNorm1d(4), lib.Tanh(), lib.Linear(4, 2)).eval()
        for lib in (nn, torch.nn)
    )  # type: ignore[return-value]


def outputs(ours: Any, theirs: Any) -> tuple[Any, Any]:
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    return ours(wg.from_numpy(x)).detach().numpy(), theirs(torch.from_numpy(x)).detach().numpy()


def test_from_torch() -> None:
    ours, theirs = pair()
    ours.load_state_dict(theirs.state_dict())
    np.testing.assert_allclose(*outputs(ours, theirs), rtol=1e-5, atol=1e-6)


def test_to_torch() -> None:
    ours, theirs = pair()
    theirs.load_state_dict({name: torch.from_numpy(v.numpy()) for name, v in ours.state_dict().items()})
    np.testing.assert_allclose(*outputs(ours, theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizers_both_ways(method: str) -> None:
    options: dict[str, Any] = {"momentum": 0.9} if method in ("SGD", "RMSprop") else {}
    ours, theirs = wg.nn.Parameter(wg.ones(3)), torch.nn.Parameter(torch.ones(3))
    a, b = getattr(optim, method)([ours], lr=0.1, **options), getattr(torch.optim, method)([theirs], lr=0.1, **options)

    def step(optimizer: Any, parameter: Any, make: Any) -> None:
        parameter.grad = make([0.5, -1.0, 2.0])
        optimizer.step()

    for _ in range(3):
        step(a, ours, wg.tensor)
        step(b, theirs, torch.tensor)
    state = a.state_dict()
    as_torch = {
        number: {name: torch.from_numpy(v.numpy().copy()) for name, v in entry.items()}
        for number, entry in state["state"].items()
    }
    from_torch = b.state_dict()
    b.load_state_dict({"state": as_torch, "param_groups": state["param_groups"]})
    a.load_state_dict(from_torch)
    for _ in range(3):
        step(a, ours, wg.tensor)
        step(b, theirs, torch.tensor)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-6)
