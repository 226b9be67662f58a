"""One update of more parameters than a kernel usually has operands, eager and compiled."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg


@pytest.mark.quick(compiled=[False])
@pytest.mark.parametrize("compiled", [False, True])
def test_adam_over_a_hundred_parameters(compiled: bool) -> None:
    wg.manual_seed(0)
    parameters = [wg.nn.Parameter(wg.rand(2048)) for _ in range(100)]
    optimizer = wg.optim.Adam(parameters, lr=0.1)
    before = [p.detach().numpy().copy() for p in parameters]

    def step() -> None:
        optimizer.zero_grad()
        sum([(p * p).sum() for p in parameters]).backward()
        optimizer.step()

    (wg.compile(step) if compiled else step)()
    for p, was in zip(parameters, before, strict=True):  # the first step of Adam goes by the gradient's sign
        g = 2.0 * was.astype(np.float64)
        assert np.allclose(p.detach().numpy(), was - 0.1 * g / (np.abs(g) + 1e-8), atol=1e-6)
