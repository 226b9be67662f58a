"""The networks of vision have torchvision's states and results (stored by tests/parity/golden_models.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import wengert as wg
from wengert import models
from wengert.testing.golden import formula

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
# Among networks of one family the first to tell of a fault; the others take seconds to make.
QUICK = ("resnet18",)


def marks(name: str) -> list[pytest.MarkDecorator]:
    return [] if name in QUICK or name.startswith("VisionTransformer") else [pytest.mark.slow]


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters keep the memory that they got, which costs nothing until it is touched."""
    for name in ("uniform_", "normal_", "fill_"):
        monkeypatch.setattr(wg.Tensor, name, lambda self, *args, **options: self)


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in GOLDEN["counts"]])
def test_states_and_sizes(name: str) -> None:
    net = getattr(models, name)()
    assert sum(p.numel() for p in net.parameters()) == GOLDEN["counts"][name]
    if name in GOLDEN["states"]:
        assert [(k, list(v.shape)) for k, v in net.state_dict().items()] == list(GOLDEN["states"][name].items())


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize(
    ("text", "shape", "wanted"), [pytest.param(*row, id=row[0], marks=marks(row[0])) for row in GOLDEN["outputs"]]
)
def test_outputs(text: str, shape: list[int], wanted: list[float]) -> None:
    called = eval(text, dict(vars(models))).double().eval()
    state = {name: (v.dtype, formula(name, tuple(v.shape))) for name, v in called.state_dict().items()}
    called.load_state_dict({name: wg.tensor(values, dtype=dtype) for name, (dtype, values) in state.items()})
    with wg.no_grad():
        y = called(wg.tensor(formula("input", tuple(shape)))).flatten()
    seen = y[:: max(1, len(y) // 8)][:8].numpy()
    np.testing.assert_allclose(seen, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
