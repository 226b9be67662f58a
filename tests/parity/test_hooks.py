"""Hooks of modules are called in torch's order, with torch's values."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import wengert as wg

RNG = np.random.default_rng(0)
WEIGHTS = {key: RNG.standard_normal(shape) for key, shape in (("a", (4, 3)), ("b", (2, 4)), ("x", (5, 3)))}


def numbers(values: Any) -> Any:
    return [None if v is None else v.detach().numpy().round(9).tolist() for v in values]


def run(lib: Any, needs: bool, settings: str) -> list[Any]:
    """What the hooks of a network of two layers saw, and the gradients."""
    said: list[Any] = []
    net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.Linear(4, 2)).double()
    net[0].weight.data, net[2].weight.data = lib.tensor(WEIGHTS["a"]), lib.tensor(WEIGHTS["b"])
    net[0].bias.data, net[2].bias.data = lib.zeros(4, dtype=lib.float64), lib.ones(2, dtype=lib.float64)
    for name, m in net.named_modules():
        m.register_full_backward_pre_hook(lambda m, out, name=name: said.append(("before", name, numbers(out))))
        m.register_full_backward_hook(
            lambda m, into, out, name=name: said.append(("after", name, numbers(into), numbers(out)))
        )
    if "change" in settings:
        net[1].register_full_backward_hook(lambda m, into, out: (into[0] * 2 + 1,))
        net[2].register_full_backward_pre_hook(lambda m, out: (out[0] * -1,))
    if "first" in settings:
        net[2].register_full_backward_hook(lambda m, into, out: (into[0] * 0.5,), prepend=True)
    if "forward" in settings:
        net[1].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
        net[1].register_forward_hook(lambda m, args, out: out + args[0])
    x = lib.tensor(WEIGHTS["x"])
    if needs:
        x.requires_grad_()
    net(x).sum().backward()
    return [*said, *numbers([x.grad]), *numbers(p.grad for p in net.parameters())]


def flat(value: Any) -> list[Any]:
    return [y for x in value for y in flat(x)] if isinstance(value, (list, tuple)) else [value]


@pytest.mark.parametrize("needs", [True, False])
@pytest.mark.parametrize("settings", ["", "change", "first change", "forward", "forward change"])
def test_backward_hooks(needs: bool, settings: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that no input requires gradients
        ours, theirs = (flat(run(lib, needs, settings)) for lib in (wg, torch))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a == (pytest.approx(b, abs=1e-8) if isinstance(b, float) else b)


def test_state_hooks() -> None:
    def run(lib: Any) -> list[Any]:
        said: list[Any] = []
        net = lib.nn.Sequential(lib.nn.Linear(1, 1), lib.nn.Sequential(lib.nn.Linear(1, 1), lib.nn.BatchNorm1d(1)))
        for name, m in net.named_modules():
            m.register_state_dict_pre_hook(lambda m, prefix, keep, name=name: said.append(("before", name, prefix)))
            m.register_state_dict_post_hook(
                lambda m, found, prefix, meta, name=name: said.append(
                    ("after", name, prefix, sorted(k for k in found if k.startswith(prefix)))
                )
            )
            m.register_load_state_dict_pre_hook(
                lambda m, found, prefix, meta, strict, missing, unexpected, errors, name=name: said.append(
                    ("load", name, prefix, strict)
                )
            )
            m.register_load_state_dict_post_hook(
                lambda m, keys, name=name: said.append(("loaded", name, list(keys.missing_keys) if not name else []))
            )
        state = net.state_dict()
        del state["1.0.bias"]
        net.load_state_dict(state, strict=False)
        return said

    ours, theirs = run(wg), run(torch)
    # Loading begins only when all has been compared, so that each kind of hook has its own turn.
    for kinds in (("before", "after"), ("load",), ("loaded",)):
        assert [entry for entry in ours if entry[0] in kinds] == [entry for entry in theirs if entry[0] in kinds]
