"""What a workload and a contender are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

EAGER, COMPILED = "wengert", "wengert compiled"
TORCH, INDUCTOR, JAX = "torch", "torch.compile", "jax.jit"
CONTENDERS = (EAGER, COMPILED, TORCH, INDUCTOR, JAX)
LIBRARY = {EAGER: "wengert", COMPILED: "wengert", TORCH: "torch", INDUCTOR: "torch", JAX: "jax"}

Weights = dict[str, np.ndarray]
Call = Callable[[], Any]  # one step; its result can be waited for, and read


@dataclass(frozen=True)
class Workload:
    """One row of the table. ``build(contender, weights, quick)`` returns the call that is measured.

    Attributes:
        bar: how many times as fast as torch eager the compiled call must be; ``goal``: should be.
        eager_bar: at most how many times torch eager's time Wengert's eager mode may take.
        first: seconds that the first call may take, cold.
        curve: steps whose losses ``--check`` compares; 0: the results of one call are compared.
        work: floating-point operations or bytes of a call, in ``unit`` ("flop" or "byte").
        share: the share of the machine's peak that must be reached.
    """

    name: str
    title: str
    group: str
    build: Callable[[str, Weights, bool], Call]
    contenders: Sequence[str] = CONTENDERS
    bar: float | None = None
    goal: float | None = None
    eager_bar: float | None = 1.5
    first: float | None = None
    curve: int = 0
    tolerance: float = 1e-4
    weights: Callable[[Any], Any] | None = None
    against: str = TORCH
    work: float = 0.0
    unit: str = ""
    share: float | None = None
    note: str = ""
    limits: dict[str, float] = field(default_factory=dict)


def installed(contender: str) -> bool:
    """Whether the contender's library is on this machine."""
    return importlib.util.find_spec(LIBRARY[contender]) is not None


def wait(result: Any) -> Any:
    """JAX returns before it has computed."""
    if hasattr(result, "block_until_ready"):
        result.block_until_ready()
    elif isinstance(result, (tuple, list)):
        for part in result:
            wait(part)
    return result


def arrays(result: Any) -> list[np.ndarray]:
    """A call's results as float64 arrays, in order."""
    if isinstance(result, (tuple, list)):
        return [a for part in result for a in arrays(part)]
    if hasattr(result, "detach"):
        halves = str(result.dtype).endswith("bfloat16")  # which NumPy does not know
        result = (result.detach().float() if halves else result.detach()).numpy()
    return [np.asarray(result, np.float64)]
