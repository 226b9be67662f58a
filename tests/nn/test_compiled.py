"""Every layer and loss of the stored results, compiled: values, gradients and buffers are those of eager mode."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn

pytestmark = pytest.mark.slow

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CASES = GOLDEN["layers"] + GOLDEN["losses"] + GOLDEN["calls"]

# Shapes follow from lengths, which are values.
OPEN = {
    "nn.GRU(3, 2, bidirectional=True)",
    "nn.LSTM(2, 2, num_layers=2, bidirectional=True)",
    "nn.CTCLoss(blank=2, reduction='none', zero_infinity=True)",
}


def tensor(value: Any, grad: bool = True) -> wg.Tensor:
    floating = np.array(value).dtype.kind == "f"
    return wg.tensor(value, dtype=wg.float32 if floating else wg.int64, requires_grad=floating and grad)


def module_of(case: dict[str, Any]) -> nn.Module:
    wg.manual_seed(0)
    module = eval(case["module"], {"nn": nn, **{k: tensor(v, False) for k, v in case.get("tensors", {}).items()}})
    if "state" in case:
        module.load_state_dict({name: tensor(value, False) for name, value in case["state"].items()})
    return module


def inputs_of(case: dict[str, Any]) -> dict[str, Any]:
    if "inputs" in case:
        return {name: tensor(value) for name, value in case["inputs"].items()}
    return {"x": tensor(case["input"])} | ({"t": tensor(case["target"], False)} if "target" in case else {})


def flat(values: Any) -> list[Any]:
    return [y for part in values for y in flat(part)] if isinstance(values, tuple) else [values]


def outcome(case: dict[str, Any], run: Callable[..., Any]) -> list[Any]:
    """All that a call gives and changes: outputs, gradients, buffers."""
    module, given = module_of(case), inputs_of(case)
    call = compile(case.get("call", "m(*given)"), "call", "eval")

    def f(*values: Any) -> Any:
        names = dict(zip(given, values, strict=True))
        return eval(call, {"nn": nn, "m": module, "given": values, **names})

    outputs = flat(run(f)(*given.values()))
    sum((k + 1) * y.sin().sum() for k, y in enumerate(outputs) if y.requires_grad).backward()
    leaves = [*given.values(), *module.parameters()]
    return [*outputs, *(x.grad for x in leaves), *module.buffers()]


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("case", [c for c in CASES if c["module"] not in OPEN], ids=lambda case: case["module"])
def test_compiled_is_eager(case: dict[str, Any]) -> None:
    eager, compiled = outcome(case, lambda f: f), outcome(case, wg.compile)
    assert len(eager) == len(compiled)
    for a, b in zip(eager, compiled, strict=True):
        assert (a is None) == (b is None)
        if a is None:
            continue
        wanted = a.detach().numpy()
        scale = np.abs(wanted).max(initial=1.0)
        np.testing.assert_allclose(b.detach().numpy(), wanted, rtol=2e-5, atol=2e-5 * scale)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("last", [False, True])
def test_bags_by_offsets_that_are_values(mode: str, last: bool) -> None:
    wg.manual_seed(0)
    bag = nn.EmbeddingBag(5, 3, mode=mode, include_last_offset=last, padding_idx=2)
    index, offsets = wg.tensor([0, 2, 4, 4, 1, 3]), wg.tensor([0, 2, 2, 4])
    wanted = bag(index, offsets)
    compiled = wg.compile(bag)
    assert wg.allclose(compiled(index, offsets), wanted)
    others = wg.tensor([0, 0, 1, 5])
    assert wg.allclose(compiled(index, others), bag(index, others))
    for wrong in ([1, 2, 2, 4], [0, 2, 1, 4], [0, 2, 2, 7]):
        with pytest.raises(wg.errors.IndexRangeError, match="embedding_bag"):
            compiled(index, wg.tensor(wrong))
