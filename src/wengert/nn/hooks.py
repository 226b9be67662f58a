"""Hooks of modules: functions that are called around ``forward``, around its backward pass, and with states."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import Function
from ..config import CHANGES, STATE
from ..errors import ArgumentError, message
from ..tensor import Tensor

Hook = Callable[..., Any]

_ids = itertools.count()


class RemovableHandle:
    """Takes one hook off; also a context that takes it off at its end.

    The handle does not keep the object alive that the hook hangs on.

    >>> import wengert as wg
    >>> layer = wg.nn.ReLU()
    >>> with layer.register_forward_hook(lambda module, args, output: print(type(module).__name__)):
    ...     _ = layer(wg.ones(1))
    ReLU
    >>> _ = layer(wg.ones(1))
    """

    __slots__ = ("_hooks", "id")

    def __init__(self, hooks: OrderedDict[int, Any], hook: Any, first: bool = False) -> None:
        self.id = next(_ids)
        self._hooks: weakref.ref[OrderedDict[int, Any]] | None = weakref.ref(hooks)
        hooks[self.id] = hook
        if first:
            hooks.move_to_end(self.id, last=False)
        CHANGES()

    def remove(self) -> None:
        """Take the hook off; calling it twice does no harm."""
        hooks = self._hooks() if self._hooks is not None else None
        if hooks is not None:
            hooks.pop(self.id, None)
        CHANGES()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    # A weak reference can be neither copied nor pickled: the dictionary itself travels instead, and
    # `copy` and `pickle` see to it that it is the same one as the copied module's.
    def __getstate__(self) -> tuple[OrderedDict[int, Any] | None, int]:
        return (self._hooks() if self._hooks is not None else None), self.id

    def __setstate__(self, state: tuple[OrderedDict[int, Any] | None, int]) -> None:
        hooks, self.id = state
        self._hooks = None if hooks is None else weakref.ref(hooks)


class Hooks:
    """What `Module` has of hooks."""

    _forward_pre_hooks: OrderedDict[int, tuple[Hook, bool]]
    _forward_hooks: OrderedDict[int, tuple[Hook, bool, bool]]
    _backward_hooks: OrderedDict[int, tuple[Hook, bool]]
    _state_hooks: dict[str, OrderedDict[int, Hook]]
    forward: Callable[..., Any]

    # --- around forward ------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; a result other than None replaces the arguments."""
        return RemovableHandle(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; a result other than None replaces it.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``; with ``always_call`` it is called when
        ``forward`` or another hook raises, too, with what output there is, or None.
        """
        return RemovableHandle(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs in tuple(self._forward_pre_hooks.values()):
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    args, kwargs = self._checked_pair(changed)
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        around = _Backward(self, len(args)) if self._backward_hooks and STATE.grad else None
        if around is not None:
            args = around.entered(args)
        output, waiting = None, dict(self._forward_hooks)
        try:
            output = self.forward(*args, **kwargs)
            for key in tuple(waiting):
                output = self._after(waiting.pop(key), args, kwargs, output)
        except Exception as error:
            self._after_error(error, [e for e in waiting.values() if e[2]], args, kwargs, output)
            raise
        return output if around is None else around.left(output)

    def _after_error(self, error: Exception, entries: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Call all of these hooks; the first error is the one that is raised."""
        for entry in entries:
            try:
                self._after(entry, args, kwargs, output)
            except Exception as other:
                error.add_note(f"A forward hook that is always called failed, too: {other!r}")

    def _after(self, entry: tuple[Hook, bool, bool], args: Any, kwargs: Any, output: Any) -> Any:
        hook, with_kwargs, _ = entry
        changed = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
        return output if changed is None else changed

    def _checked_pair(self, changed: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if isinstance(changed, tuple) and len(changed) == 2:
            return changed
        wanted = "a forward pre-hook with kwargs must return None or a tuple (args, kwargs)"
        raise ArgumentError(message(type(self).__name__, wanted, type(changed).__name__))

    # --- around backward -----------------------------------------------------------------------------

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before gradients pass through the module.

        ``grad_output`` is a tuple with the gradient of each output; a tuple that the hook returns replaces it.
        """
        return RemovableHandle(self._backward_hooks, (hook, True), prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the module's inputs are known.

        Both are tuples, of the positional arguments and of the outputs, with None for what has no gradient. A
        tuple that the hook returns replaces ``grad_input``.

        >>> import wengert as wg
        >>> layer = wg.nn.Linear(2, 1, bias=False)
        >>> layer.weight.data = wg.tensor([[2.0, 3.0]])
        >>> _ = layer.register_full_backward_hook(lambda module, into, out: print(into[0].tolist(), out[0].tolist()))
        >>> layer(wg.ones(1, 2, requires_grad=True)).sum().backward()
        [[2.0, 3.0]] [[1.0]]
        """
        return RemovableHandle(self._backward_hooks, (hook, False), prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """As `register_full_backward_hook`; PyTorch's gives the gradients of the module's last operation only."""
        return self.register_full_backward_hook(hook)

    # --- with states ---------------------------------------------------------------------------------

    def _state_hook(self, kind: str, hook: Hook) -> RemovableHandle:
        return RemovableHandle(self._state_hooks.setdefault(kind, OrderedDict()), hook)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before the module's part of a state dictionary is made."""
        return self._state_hook("before", hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after the part of the module and all in it is made.

        The hook may change the dictionary.
        """
        return self._state_hook("after", hook)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        """As `register_state_dict_post_hook`; a result other than None is the state dictionary instead."""
        return self._state_hook("replace", hook)

    def _register_load_state_dict_pre_hook(self, hook: Hook, with_module: bool = False) -> RemovableHandle:
        """As `register_load_state_dict_pre_hook`; without the module among the arguments unless told so."""
        return self._state_hook("load", hook if with_module else functools.partial(_without_module, hook))

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call a hook before a state dictionary is compared with the module.

        Its arguments are ``(module, state_dict, prefix, local_metadata, True, missing_keys, unexpected_keys,
        error_msgs)``. It may change the dictionary, which is a copy, and add to the three lists.
        """
        return self._state_hook("load", hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after the state of the module and of all in it has been loaded.

        The hook may change the lists of missing and unexpected keys. What is still in them then is an error if the
        loading is strict, but what fits has been loaded.
        """
        return self._state_hook("loaded", hook)


def _without_module(hook: Hook, module: Any, *rest: Any) -> Any:
    return hook(*rest)


def state_hooks(module: Any, kind: str) -> list[Hook]:
    """The hooks of one kind that a module itself has."""
    return list(module._state_hooks.get(kind, {}).values())


# --- backward passes through a module ----------------------------------------------------------------


class _Through(Function):
    """The tensors as they are; ``act`` sees their gradients, all at once, and may replace them."""

    @staticmethod
    def forward(ctx: Any, act: Hook, *xs: Any) -> Any:
        ctx.act = act
        ctx.set_materialize_grads(False)
        return tuple(x.detach() for x in xs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *ctx.act(gradients))


class _Backward:
    """One call of a module whose backward pass has hooks."""

    def __init__(self, module: Any, inputs: int) -> None:
        self.module, self.inputs, self.outputs = module, inputs, 0
        self.before = [hook for hook, early in module._backward_hooks.values() if early]
        self.after = [hook for hook, early in module._backward_hooks.values() if not early]
        self.entries: list[int] = []
        self.exits: list[int] = []
        self.grad_output: tuple[Any, ...] | None = None

    def entered(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, whose gradients will be seen."""
        self.entries = _differentiable(args)
        return _replaced(args, self.entries, self.into) if self.after else args

    def left(self, output: Any) -> Any:
        """The output, whose gradients will be seen."""
        outputs = output if isinstance(output, tuple) else (output,)
        self.outputs, self.exits = len(outputs), _differentiable(outputs)
        found = _replaced(outputs, self.exits, self.out)
        if not isinstance(output, tuple):
            return found[0]
        return type(output)(*found) if hasattr(output, "_fields") else found

    def out(self, gradients: Sequence[Any]) -> list[Any]:
        """The gradients of the outputs have come."""
        grads = _spread(gradients, self.exits, self.outputs)
        for hook in self.before:
            grads = self._answer(hook(self.module, grads), grads)
        self.grad_output = grads
        if not self.entries:  # nothing will come further, so this is the moment
            self._call((None,) * self.inputs)
        return [grads[i] for i in self.exits]

    def into(self, gradients: Sequence[Any]) -> list[Any]:
        """The gradients of the inputs have come."""
        if self.grad_output is None:  # a second derivative, which comes to the inputs, but not by the outputs
            return list(gradients)
        grads = self._call(_spread(gradients, self.entries, self.inputs))
        return [grads[i] for i in self.entries]

    def _call(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.after:
            grads = self._answer(hook(self.module, grads, self.grad_output), grads)
        self.grad_output = None
        return grads

    def _answer(self, changed: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if changed is None:
            return grads
        found = changed if isinstance(changed, tuple) else (changed,)
        if len(found) != len(grads):
            wanted = f"a backward hook must return None or {len(grads)} gradients"
            raise ArgumentError(message(type(self.module).__name__, wanted, str(len(found))))
        return found


def _differentiable(values: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]


def _replaced(values: tuple[Any, ...], places: list[int], act: Hook) -> tuple[Any, ...]:
    """The values, those at some places with gradients that ``act`` sees."""
    if not places:
        return values
    found = dict(zip(places, _Through.apply(act, *[values[i] for i in places])))
    return tuple(found.get(i, x) for i, x in enumerate(values))


def _spread(gradients: Sequence[Any], places: list[int], count: int) -> tuple[Any, ...]:
    found = dict(zip(places, gradients))
    return tuple(found.get(i) for i in range(count))
