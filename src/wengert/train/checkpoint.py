"""What a checkpoint of a trainer holds, and how it is put back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, message
from .callbacks import Callback
from .rng import rng_state, set_rng_state

if TYPE_CHECKING:
    from .trainer import Trainer

VERSION = 1
_PLAIN = ("epoch", "step", "batch", "phase", "should_stop", "sums", "seconds")


def keeps_position(loader: Any) -> bool:
    """Whether a loader can say where it stands."""
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


def position(loaders: Sequence[Any]) -> dict[str, Any]:
    """Random generators, and where the loaders stand."""
    return {
        "loaders": [loader.state_dict() if keeps_position(loader) else None for loader in loaders],
        "rng": rng_state(),
    }


def set_position(loaders: Sequence[Any], state: dict[str, Any]) -> None:
    """Go back (or on) to a `position`."""
    for loader, saved in zip(loaders, state["loaders"], strict=True):
        if saved is not None and keeps_position(loader):
            loader.load_state_dict(saved)
    set_rng_state(state["rng"])


def named(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Callbacks by class and number, so that one that is added later changes no other's name."""
    seen: Counter[str] = Counter()
    for callback in callbacks:
        kind = type(callback).__qualname__
        yield f"{kind}#{seen[kind]}", callback
        seen[kind] += 1


def gather(trainer: Trainer) -> dict[str, Any]:
    """All state of a trainer, as data that `wg.save` takes."""
    state: dict[str, Any] = {name: getattr(trainer, name) for name in _PLAIN}
    state |= position(trainer.loaders)
    state["version"] = VERSION
    state["model"] = trainer.model.state_dict()
    state["optimizer"] = trainer.optimizer.state_dict()
    state["scheduler"] = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    state["ema"] = None if trainer.ema is None else trainer.ema.state_dict()
    state["metrics"] = {metric.name: metric.state_dict() for metric in trainer.metrics["train"]}
    state["history"] = trainer.history.records
    state["callbacks"] = {name: callback.state_dict() for name, callback in named(trainer.callbacks)}
    state["pending"] = trainer.pending
    return state


def restore(trainer: Trainer, state: Any, path: Any) -> None:
    """Put all state back that `gather` took, into a trainer that was made in the same way."""
    _check(trainer, state, path)
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    if trainer.scheduler is not None:
        trainer.scheduler.load_state_dict(state["scheduler"])
    if trainer.ema is not None:
        trainer.ema.load_state_dict(state["ema"])
    for metric in trainer.metrics["train"]:
        metric.load_state_dict(state["metrics"][metric.name])
    for name, callback in named(trainer.callbacks):
        if name in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][name])
    trainer.history.records[:] = state["history"]
    for name in _PLAIN:
        setattr(trainer, name, state[name])
    trainer.pending = state["pending"]
    set_position(trainer.loaders, state)


def _check(trainer: Trainer, state: Any, path: Any) -> None:
    """Raise if a state is none of a trainer's, or of one that was made in another way."""
    if not isinstance(state, dict) or "optimizer" not in state or "pending" not in state:
        raise ArgumentError(message("Trainer", f"{path} is not a checkpoint of a Trainer"))
    if state["version"] > VERSION:
        raise ArgumentError(message("Trainer", f"{path} is of a newer version", str(state["version"])))
    names = [metric.name for metric in trainer.metrics["train"]]
    for what, same in (
        ("scheduler", (state["scheduler"] is None) == (trainer.scheduler is None)),
        ("average (ema)", (state["ema"] is None) == (trainer.ema is None)),
        ("metrics", list(state["metrics"]) == names),
    ):
        if not same:
            cure = "Make the trainer as the one that was saved"
            raise ArgumentError(message("Trainer", f"the checkpoint {path} has another {what}", cure=cure))
