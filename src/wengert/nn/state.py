"""State dictionaries: a module's parameters and buffers by name, out of it and into it.

Loading has two halves. `plan_load` compares the whole dictionary with the whole module and changes
nothing; only when nothing is wrong does `write` copy. A load that fails leaves the module as it was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import api
from ..config import no_grad
from ..errors import ArgumentError, WengertError, message
from ..tensor import Tensor
from .hooks import state_hooks
from .parameter import Parameter, is_lazy

if TYPE_CHECKING:
    from .module import Module

EXTRA_STATE = "_extra_state"


class StateDictError(WengertError):
    """A state dictionary does not fit the module."""


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """What `Module.load_state_dict` returns: names that one side had and the other had not."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


@dataclass
class LoadPlan:
    """What loading would do: what to write where, and what does not fit."""

    writes: list[tuple[Module, str, Tensor, Tensor]] = field(default_factory=list)
    extras: list[tuple[Module, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    compared: set[str] = field(default_factory=set)


class Loading(OrderedDict[str, Any]):
    """A copy of a state dictionary, which hooks may change, with the plan that modules write into."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.plan = LoadPlan()


def own_state(module: Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters and persistent buffers of one module, without its sub-modules'."""
    for name, param in module._parameters.items():
        if param is not None:
            yield name, param
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent_buffers_set:
            yield name, buffer


def collect(module: Module, into: Any, prefix: str, keep_vars: bool) -> Any:
    """Put the state of a module and of all modules in it into a dictionary; None makes one, which tells versions."""
    if into is None:
        into = OrderedDict()
        into._metadata = OrderedDict()
    for hook in state_hooks(module, "before"):
        hook(module, prefix, keep_vars)
    metadata = {"version": module._version}
    if hasattr(into, "_metadata"):
        into._metadata[prefix[:-1]] = metadata
    module._save_to_state_dict(into, prefix, keep_vars)
    # Shared modules appear under each of their names, as in PyTorch, so that either name loads.
    for name, child in module._modules.items():
        if child is not None:
            child.state_dict(destination=into, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
    for hook in state_hooks(module, "after"):
        if hook(module, into, prefix, metadata) is not None:
            wanted = "a hook after state_dict must return None, and change the dictionary in place"
            raise ArgumentError(message(type(module).__name__, wanted))
    for hook in state_hooks(module, "replace"):
        replaced = hook(module, into, prefix, metadata)
        into = into if replaced is None else replaced
    return into


def save_own(module: Module, into: Any, prefix: str, keep_vars: bool) -> None:
    """Put the state of one module, without its sub-modules', into a dictionary."""
    for name, tensor in own_state(module):
        into[prefix + name] = tensor if keep_vars or is_lazy(tensor) else tensor.detach()
    if hasattr(type(module), "get_extra_state"):
        into[prefix + EXTRA_STATE] = module.get_extra_state()  # type: ignore[operator]


def plan_load(module: Module, given: Mapping[str, Any]) -> LoadPlan:
    """Compare a state dictionary with a module; nothing is changed."""
    loading = Loading(given)
    plan, metadata = loading.plan, getattr(given, "_metadata", {})
    paths: set[str] = set()
    for path, child in module.named_modules(remove_duplicate=False):
        paths.add(path)
        start = f"{path}." if path else ""
        known = metadata.get(path, {})
        child._load_from_state_dict(loading, start, known, True, plan.missing, plan.unexpected, plan.errors)
    plan.unexpected.extend(k for k in loading if k not in plan.known and _owner(k, paths) in plan.compared)
    return plan


def _owner(key: str, paths: set[str]) -> str:
    """The path of the innermost module that a key could belong to."""
    path = key.rpartition(".")[0]
    while path not in paths:
        path = path.rpartition(".")[0]
    return path


def plan_own(module: Module, loading: Loading, prefix: str, *rest: Any) -> None:
    """Compare a state dictionary with one module, without its sub-modules; ``rest`` is what its hooks get as well."""
    for hook in state_hooks(module, "load"):
        hook(module, loading, prefix, *rest)
    plan = loading.plan
    plan.compared.add(prefix[:-1])
    wanted: list[tuple[str, Any]] = list(own_state(module))
    if hasattr(type(module), "set_extra_state"):
        wanted.append((EXTRA_STATE, None))
    for name, target in wanted:
        key = prefix + name
        plan.known.add(key)
        if key not in loading:
            plan.missing.append(key)
        elif target is None:
            plan.extras.append((module, loading[key]))
        else:
            _plan_one(plan, module, name, key, target, loading[key])


def _plan_one(plan: LoadPlan, module: Module, name: str, key: str, target: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        # NumPy arrays (a loaded .npz) and other frameworks' tensors come in through the array protocol.
        if not hasattr(value, "__array__"):
            plan.errors.append(
                f'While copying the parameter named "{key}", expected a Tensor or an array '
                f"from the checkpoint but received {type(value)}."
            )
            return
        value = api.as_tensor(np.asarray(value))
    if not is_lazy(target) and target.ndim == 0 and value.shape == (1,):
        value = value[0]  # numbers were stored so before there were 0-d tensors
    if not is_lazy(target) and tuple(value.shape) != tuple(target.shape):
        plan.errors.append(
            f"size mismatch for {key}: copying a param with shape {_shape(value)} from checkpoint, "
            f"the shape in current model is {_shape(target)}."
        )
        return
    plan.writes.append((module, name, target, value))


def raise_if_unfit(module: Module, plan: LoadPlan, strict: bool) -> None:
    """Raise one error that lists everything that does not fit."""
    problems = list(plan.errors)
    if strict:
        if plan.unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(plan.unexpected)}.")
        if plan.missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(plan.missing)}.")
    if problems:
        raise StateDictError(
            message(
                "load_state_dict",
                f"Error(s) in loading state_dict for {type(module).__name__}",
                "\n\t" + "\n\t".join(problems) + "\nNothing was loaded",
                _cure(plan),
            )
        )


def _cure(plan: LoadPlan) -> str:
    if plan.errors:
        return "Build the model with the sizes that it was saved with"
    wrapped = [key for key in plan.unexpected if key.startswith("module.")]
    if wrapped and len(wrapped) == len(plan.unexpected):
        return "The keys start with 'module.' because a wrapped model was saved: strip that prefix"
    return "Build the same model that was saved, or pass strict=False to load what fits"


def write(plan: LoadPlan, assign: bool) -> None:
    """Copy the planned values in (or, with ``assign``, put the given tensors in their place)."""
    with no_grad():
        for module, name, target, value in plan.writes:
            if is_lazy(target):
                target.materialize(value.shape)  # type: ignore[attr-defined]
            if not assign:
                target.copy_(value)
            elif name in module._parameters:
                if not isinstance(value, Parameter):
                    value = Parameter(value, requires_grad=target.requires_grad)
                module._parameters[name] = value
            else:
                module._buffers[name] = value
    for module, extra in plan.extras:
        module.set_extra_state(extra)  # type: ignore[operator]


def _shape(x: Tensor) -> str:
    return str(tuple(x.shape))


def _quoted(keys: Iterable[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
