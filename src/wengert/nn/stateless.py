"""Calling a module with other tensors in the place of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import api
from ..errors import ArgumentError, message
from ..tensor import Tensor
from .module import Module

Slot = tuple[dict[str, Any], str]  # a module's table of parameters or buffers, and the name in it


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = (),
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module as a pure function of its parameters and buffers; the module stays as it is.

    Args:
        module: what to call.
        parameter_and_buffer_dicts: tensors by path, in one dictionary or several.
        args: positional arguments, as a tuple, or a single one.
        kwargs: keyword arguments.
        tie_weights: a parameter that several modules share is replaced in all of them.
        strict: whether every parameter and buffer must be given.

    Returns:
        What the module returns.

    Raises:
        ArgumentError: a path names no parameter or buffer, or comes twice.

    >>> import wengert as wg
    >>> from wengert.nn.stateless import functional_call
    >>> layer = wg.nn.Linear(2, 1, bias=False)
    >>> functional_call(layer, {"weight": wg.tensor([[2.0, 3.0]])}, wg.ones(1, 2)).tolist()
    [[5.0]]
    """
    given = _merged(parameter_and_buffer_dicts)
    slots = _slots(module)
    unknown = [path for path in given if path not in slots]
    missing = [path for path in slots if path not in given] if strict else []
    if unknown or missing:
        raise ArgumentError(
            message(
                "functional_call",
                "the given names do not fit the module",
                f"unexpected {unknown}, missing {missing}",
                "Compare with dict(module.named_parameters()) and dict(module.named_buffers())",
            )
        )
    changes: dict[tuple[int, str], tuple[Slot, Tensor]] = {}
    if tie_weights:
        for path, new in given.items():
            old = _get(slots[path])
            changes.update(
                ((id(slot[0]), slot[1]), (slot, new))
                for slot in slots.values()
                if old is not None and _get(slot) is old
            )
    # A path that is given itself wins over what another path of the same parameter says.
    changes.update(((id(slots[path][0]), slots[path][1]), (slots[path], new)) for path, new in given.items())
    before = [(slot, _get(slot)) for slot, _ in changes.values()]
    try:
        for (table, name), new in changes.values():
            table[name] = new
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
    finally:
        for (table, name), old in before:
            table[name] = old


def _merged(dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    if isinstance(dicts, Mapping):
        return dict(dicts)
    merged: dict[str, Tensor] = {}
    for each in dicts:
        twice = merged.keys() & each.keys()
        if twice:
            raise ArgumentError(
                message("functional_call", "a name appears in several dictionaries", str(sorted(twice)))
            )
        merged.update(each)
    return merged


def _slots(module: Module) -> dict[str, Slot]:
    """Where each parameter and buffer is kept, by path."""
    slots: dict[str, Slot] = {}
    for path, child in module.named_modules(remove_duplicate=False):
        start = f"{path}." if path else ""
        for table in (child._parameters, child._buffers):
            slots.update((start + name, (table, name)) for name in table if table[name] is not None)  # type: ignore[index]
    return slots


def _get(slot: Slot) -> Any:
    return slot[0][slot[1]]


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of several models of one make, each stacked along a new first dimension.

    Args:
        models: at least one; all of the same class, in the same mode, with tensors of the same shapes.

    Returns:
        Two dictionaries by path, of leaves that require grad as the models' own do, and of buffers.

    Raises:
        ArgumentError: no models, or such as differ.

    >>> import wengert as wg
    >>> models = [wg.nn.Linear(2, 1) for _ in range(3)]
    >>> params, buffers = wg.func.stack_module_state(models)
    >>> call = lambda p, x: wg.func.functional_call(models[0], p, x)
    >>> wg.vmap(call, in_dims=(0, None))(params, wg.ones(4, 2)).shape
    wengert.Size([3, 4, 1])
    """
    models = list(models)
    kinds = {(type(m), m.training) for m in models}
    if len(kinds) != 1:
        why = "needs models of one class and in one mode" if models else "needs at least one model"
        raise ArgumentError(message("stack_module_state", why, str([type(m).__name__ for m in models])))
    tables = [dict(m.named_parameters()) for m in models], [dict(m.named_buffers()) for m in models]
    params, buffers = ({name: _stacked([t[name] for t in table]) for name in table[0]} for table in tables)
    return params, buffers


def _stacked(tensors: list[Any]) -> Any:
    if len({t.requires_grad for t in tensors}) != 1:
        raise ArgumentError(message("stack_module_state", "some of the models' tensors require grad, some do not"))
    return api.stack([t.detach() for t in tensors]).requires_grad_(tensors[0].requires_grad)
