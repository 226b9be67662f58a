"""The training step as one plain function, and how batches, precision and sizes are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import api, tree
from ..dtypes import bfloat16, float32
from ..errors import ArgumentError, message
from ..nn.module import Module
from ..nn.stateless import functional_call
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..tensor import Tensor

Forward = Callable[[Any], Any]


def pair(batch: Any) -> tuple[Any, Any]:
    """A batch as ``(inputs, targets)``."""
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    length = f" of {len(batch)}" if isinstance(batch, list | tuple) else ""
    raise ArgumentError(
        message(
            "Trainer",
            "a batch must be a pair (inputs, targets)",
            f"{type(batch).__name__}{length}",
            "Several inputs stand in a tuple or a dict of their own",
        )
    )


def samples(x: Any) -> int:
    """How many samples a batch of inputs has: the first axis of its first tensor."""
    for leaf in tree.leaves(x):
        shape = getattr(leaf, "shape", None)
        if shape:
            return int(shape[0])
    return 1


def make_forward(model: Module, precision: Any) -> Forward:
    """The model as a function of a batch's inputs: a tensor, a tuple of arguments, or a dict of keywords.

    In bfloat16 every module that has parameters computes with rounded copies of them and of what it is given. The
    parameters themselves stay float32, and so do their gradients, which come through the cast, all buffers (running
    statistics), and what the loss gets.

    Source: Micikevicius et al., "Mixed precision training", ICLR 2018; bfloat16 needs no loss scaling.
    """

    def call(x: Any) -> Any:
        args, kwargs = _arguments(x)
        return model(*args, **kwargs)

    def call_bfloat16(x: Any) -> Any:
        args, kwargs = _arguments(_shortened(x))
        short = {name: _shortened(p) for name, p in model.named_parameters()}
        owners = [module for module in model.modules() if module._parameters]
        # A buffer (positions, say) makes a float32 result of a short input; the next owner rounds it again.
        hooks = [module.register_forward_pre_hook(_shorten, with_kwargs=True) for module in owners]
        try:
            output = functional_call(model, short, args, kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        return tree.map(lambda leaf: _cast(leaf, bfloat16, float32), output)

    return call if precision is None else call_bfloat16


def _arguments(x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(x, dict):
        return (), x
    return tuple(x) if isinstance(x, list | tuple) else (x,), {}


def _shorten(module: Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return _shortened(args), _shortened(kwargs)


def _shortened(x: Any) -> Any:
    return tree.map(lambda leaf: _cast(leaf, float32, bfloat16), x)


def _cast(x: Any, source: Any, target: Any) -> Any:
    return x.to(target) if isinstance(x, Tensor) and x.dtype == source else x


def check_precision(precision: Any) -> Any:
    """bfloat16, or None for computing in the dtype of the parameters."""
    if precision in (None, "float32", "32"):
        return None
    if precision in ("bfloat16", "bf16", bfloat16):
        return bfloat16
    raise ArgumentError(message("Trainer", "unknown precision", repr(precision), "One of 'bfloat16', None"))


def _shares(loss: Any, xs: Sequence[Any]) -> list[float]:
    """What each batch of an update counts: by its samples, so that the sum is the mean over all of them."""
    if getattr(loss, "reduction", "mean") == "sum":
        return [1.0] * len(xs)
    sizes = [samples(x) for x in xs]
    if not any(sizes):
        raise ArgumentError(message("Trainer", "a batch without samples has no mean loss"))
    return [size / sum(sizes) for size in sizes]


def make_step(
    forward: Forward, loss: Callable[[Any, Any], Any], optimizer: Optimizer, clip_norm: float | None
) -> Callable[..., tuple[Any, tuple[Any, ...]]]:
    """``step(x, y, *more) -> (loss, outputs)``: one update, from one batch or several (``x2, y2, ...``)."""

    def step(x: Any, y: Any, *more: Any) -> tuple[Any, tuple[Any, ...]]:
        optimizer.zero_grad()
        xs, ys = (x, *more[::2]), (y, *more[1::2])
        total, outputs = None, []
        for inputs, targets, share in zip(xs, ys, _shares(loss, xs), strict=True):
            output = forward(inputs)
            part = loss(output, targets)
            if share != 1.0:
                part = part * share
            part.backward()
            part = part.detach()
            total = part if total is None else total + part
            outputs.append(tree.map(_detached, output))
        if clip_norm is not None:
            clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
        optimizer.step()
        return total, tuple(outputs)

    return step


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def compiled(plain: Callable[..., Any], optimizer: Optimizer) -> Callable[..., Any]:
    """The step through the package's compiler.

    Learning rates become tensors, whose memory a compiled step reads, so that schedules go on working.
    """
    import wengert

    compiler: Any = getattr(wengert, "compile", None)
    if not callable(compiler):
        raise ArgumentError(message("Trainer", "compile=True, but this version of Wengert has no compiler"))
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = api.tensor(float(group["lr"]), dtype=float32)
    step: Any = compiler(plain)
    return step
