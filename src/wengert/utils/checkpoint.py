"""Checkpointing under PyTorch's path: results without their intermediate values, computed again for gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError, message
from ..nn.container import Sequential
from ..transform import checkpoint as transform

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Any = None,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """As `wengert.checkpoint`; the other arguments are PyTorch's, without effect.

    >>> import wengert as wg
    >>> from wengert.utils.checkpoint import checkpoint
    >>> x = wg.ones(2, requires_grad=True)
    >>> checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([-2.4784, -2.4784])
    """
    return transform.checkpoint(function, *args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Functions in a row, cut into so many segments of which all but the last are checkpoints.

    Args:
        functions: a `nn.Sequential`, or a list of functions of one tensor.
        segments: how many, at most as many as there are functions.
        input: what the first function gets.
        use_reentrant: PyTorch's, without effect.

    >>> import wengert as wg
    >>> from wengert.utils.checkpoint import checkpoint_sequential
    >>> checkpoint_sequential([wg.exp, wg.sin, wg.cos], 2, wg.zeros(1))
    tensor([0.6664])
    """
    parts = list(functions.children()) if isinstance(functions, Sequential) else list(functions)
    if not 1 <= segments <= len(parts):
        raise ArgumentError(message("checkpoint_sequential", f"segments must be from 1 to {len(parts)}", str(segments)))

    def row(some: list[Any]) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for part in some:
                x = part(x)
            return x

        return run

    size = len(parts) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(row(parts[start : start + size]), input, **kwargs)
    return row(parts[size * (segments - 1) :])(input)
