"""Pruning, synchronised norms and wrapped modules beside torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as theirs

import wengert as wg
from wengert.nn.utils import prune as ours

RNG = np.random.default_rng(0)
WEIGHTS = {"conv": RNG.standard_normal((4, 3, 3, 2)), "linear": RNG.standard_normal((6, 8))}


def layers(kind: str) -> tuple[Any, Any]:
    """The same layer in both libraries."""
    values = WEIGHTS[kind]
    found = []
    for lib, make in ((wg, wg.tensor), (torch, torch.tensor)):
        layer = lib.nn.Conv2d(3, 4, (3, 2)) if kind == "conv" else lib.nn.Linear(8, 6)
        layer.double()
        layer.weight.data, layer.bias.data = make(values), make(np.cos(np.arange(values.shape[0])))
        found.append(layer)
    return found[0], found[1]


def same(a: Any, b: Any) -> None:
    assert list(a.state_dict()) == list(b.state_dict())
    for key, value in a.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), b.state_dict()[key].numpy(), err_msg=key)
        assert str(value.dtype).split(".")[-1] == str(b.state_dict()[key].dtype).split(".")[-1]
    np.testing.assert_array_equal(a.weight.detach().numpy(), b.weight.detach().numpy())


STEPS = [
    "p.l1_unstructured(m, 'weight', 0.3)",
    "p.l1_unstructured(m, 'weight', 7)",
    "p.l1_unstructured(m, 'weight', 1.0)",
    "p.ln_structured(m, 'weight', 2, 1, 0)",
    "p.ln_structured(m, 'weight', 0.3, 2, 1)",
    "p.ln_structured(m, 'weight', 1, float('-inf'), -1)",
    "p.ln_structured(m, 'weight', 0, 2, 0)",
    "p.identity(m, 'weight')",
    "p.l1_unstructured(m, 'bias', 1); p.l1_unstructured(m, 'weight', 0.1)",
    "p.l1_unstructured(m, 'weight', 0.3); p.ln_structured(m, 'weight', 1, 2, 0); p.l1_unstructured(m, 'weight', 0.5)",
    "p.ln_structured(m, 'weight', 1, 2, 0); p.ln_structured(m, 'weight', 1, 2, 1)",
    "p.ln_structured(m, 'weight', 1, 2, 0); p.ln_structured(m, 'weight', 0.4, 1, 0)",
    "p.custom_from_mask(m, 'weight', m.weight > 0); p.l1_unstructured(m, 'weight', 3)",
    "p.l1_unstructured(m, 'weight', 0.4); p.custom_from_mask(m, 'weight', m.weight.abs() < 1)",
    "p.l1_unstructured(m, 'weight', 5, importance_scores=-m.weight)",
    "p.global_unstructured([(m, 'weight'), (m, 'bias')], p.L1Unstructured, amount=0.6)",
    "p.l1_unstructured(m, 'bias', 2); p.global_unstructured([(m, 'weight'), (m, 'bias')], p.L1Unstructured, amount=9)",
    "p.l1_unstructured(m, 'weight', 0.3); p.remove(m, 'weight')",
]  # fmt: skip


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("text", STEPS)
def test_masks(text: str, kind: str) -> None:
    a, b = layers(kind)
    for m, p in ((a, ours), (b, theirs)):
        for step in text.split("; "):
            eval(step, {"p": p, "m": m})
    same(a, b)


def test_states_go_both_ways() -> None:
    a, b = layers("linear")
    ours.l1_unstructured(a, "weight", 0.5)
    theirs.identity(b, "weight")
    b.load_state_dict({key: torch.from_numpy(value.numpy().copy()) for key, value in a.state_dict().items()})
    x = RNG.standard_normal((3, 8))
    np.testing.assert_allclose(a(wg.tensor(x)).detach().numpy(), b(torch.tensor(x)).detach().numpy(), rtol=1e-12)
    same(ours.remove(a, "weight"), theirs.remove(b, "weight"))


@pytest.mark.parametrize(
    "text",
    [
        "p.l1_unstructured(m, 'weight', -1)",
        "p.l1_unstructured(m, 'weight', 2.0)",
        "p.l1_unstructured(m, 'weight', 10**6)",
        "p.l1_unstructured(m, 'weight', None)",
        "p.ln_structured(m, 'bias', 1, 2, 0)",
        "p.ln_structured(m, 'weight', 1, 2, 9)",
        "p.remove(m, 'weight')",
        "p.global_unstructured([(m, 'weight')], p.LnStructured, amount=1, n=2)",
    ],
)
def test_both_refuse(text: str) -> None:
    a, b = layers("linear")
    with pytest.raises(Exception) as theirs_raised:  # noqa: PT011 (whatever torch raises)
        eval(text, {"p": theirs, "m": b})
    with pytest.raises(theirs_raised.type):
        eval(text, {"p": ours, "m": a})


@pytest.mark.parametrize("settings", ["", "momentum=None", "affine=False", "track_running_stats=False", "bias=False"])
def test_sync_batch_norm(settings: str) -> None:
    a, b = (eval(f"nn.SyncBatchNorm(3, {settings})", {"nn": lib.nn}).double() for lib in (wg, torch))
    x = RNG.standard_normal((4, 3, 5))
    for _ in range(2):
        x = x * 1.5 + 0.2
        np.testing.assert_allclose(a(wg.tensor(x)).detach().numpy(), b(torch.tensor(x)).detach().numpy(), rtol=1e-9)
    assert list(a.state_dict()) == list(b.state_dict()) and repr(a) == repr(b)
    for key, value in a.state_dict().items():
        np.testing.assert_allclose(value.numpy(), b.state_dict()[key].numpy(), rtol=1e-12, err_msg=key)


def test_wrapped_modules() -> None:
    a, b = (lib.nn.DataParallel(lib.nn.Linear(3, 2), device_ids=[0]) for lib in (wg, torch))
    a.load_state_dict({key: value.numpy() for key, value in b.state_dict().items()})
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(a(wg.tensor(x)).detach().numpy(), b(torch.tensor(x)).detach().numpy(), rtol=1e-5)
    assert list(a.state_dict()) == list(b.state_dict()) and repr(a) == repr(b) and a.device_ids == b.device_ids
