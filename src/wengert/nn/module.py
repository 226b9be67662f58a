"""``Module``, the base of every layer and network: it owns parameters, buffers and other modules.

A module adds no derivative of its own. ``forward`` is ordinary tensor code, and calling a module only
puts its name on the scope while ``forward`` runs, which is how the graph knows its boxes.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from ..compiler import Compiled
from ..config import CHANGES, STATE
from ..errors import message
from ..tensor import Tensor
from . import state
from .convert import Conversions
from .hooks import Hooks, state_hooks
from .members import Members
from .parameter import Buffer, Parameter

_TABLES = ("_parameters", "_buffers", "_modules")


class Table(dict[str, Any]):
    """Parameters, buffers or modules by name. That it changes is noted, for programs are compiled of what it holds."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        CHANGES()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        CHANGES()

    def pop(self, *args: Any) -> Any:
        """As of every dictionary."""
        CHANGES()
        return super().pop(*args)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of every dictionary."""
        super().update(*args, **kwargs)
        CHANGES()

    def clear(self) -> None:
        """As of every dictionary."""
        super().clear()
        CHANGES()


class Module(Conversions, Hooks, Members):
    """Base class of all layers and networks.

    Assign layers and parameters in ``__init__``, compute in ``forward``.

    Attributes:
        training: True in training mode, False in evaluation mode (`train`, `eval`).

    >>> import wengert as wg
    >>> from wengert import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = nn.Linear(2, 3)
    ...         self.scale = nn.Parameter(wg.ones(3))
    ...     def forward(self, x):
    ...         return wg.tanh(self.hidden(x)) * self.scale
    >>> net = Net()
    >>> net(wg.zeros(5, 2)).shape
    wengert.Size([5, 3])
    >>> [name for name, _ in net.named_parameters()]
    ['scale', 'hidden.weight', 'hidden.bias']
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _scope_name: str
    _version: ClassVar[int] = 1  # of the form in which state dictionaries hold a module

    def __init__(self) -> None:
        # Straight into __dict__, for __setattr__ below looks these tables up.
        self.__dict__.update(
            training=True,
            _parameters=Table(),
            _buffers=Table(),
            _modules=Table(),
            _non_persistent_buffers_set=set(),
            _forward_pre_hooks=OrderedDict(),
            _forward_hooks=OrderedDict(),
            _backward_hooks=OrderedDict(),
            _state_hooks={},
            _scope_name=type(self).__name__,
        )

    # --- calling -------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module defines its own."""
        raise NotImplementedError(
            message(
                type(self).__name__,
                "the module has no forward method",
                cure="Define forward(self, ...) in it",
            )
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        thread = STATE.mode
        if thread.trace is not None:
            thread.trace.saw_module(self)
        outer = thread.scope
        thread.scope = (*outer, self._scope_name)
        try:
            if self._forward_pre_hooks or self._forward_hooks or self._backward_hooks:
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs) if kwargs else self.forward(*args)
        finally:
            thread.scope = outer

    def compile(self, *, check: bool = False, memory_budget: int | None = None) -> None:
        """Compile ``forward`` in place; the arguments are those of `wengert.compile`.

        Hooks of the module itself stay outside. A copy of the module, and one that is stored, is not compiled.

        >>> import wengert as wg
        >>> layer = wg.nn.Linear(2, 1)
        >>> layer.compile()
        >>> layer(wg.ones(3, 2)).shape
        wengert.Size([3, 1])
        """
        if isinstance(self.__dict__.get("forward"), Compiled):
            del self.__dict__["forward"]
        forward = self.forward

        @functools.wraps(forward)
        def seen(*args: Any, **kwargs: Any) -> Any:
            if STATE.trace is not None:
                STATE.trace.saw_module(self)
            return forward(*args, **kwargs)

        self.__dict__["forward"] = Compiled(seen, check, memory_budget)

    def __getstate__(self) -> dict[str, Any]:
        own = self.__dict__
        return {k: v for k, v in own.items() if k != "forward" or not isinstance(v, Compiled)}

    # --- registration --------------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None keeps the name free of a value."""
        self._check_new_name("parameter", name, "_parameters")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(self._cannot_assign(param, "parameter", name, "Parameter"))
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained; ``persistent`` says whether `state_dict` holds it."""
        self._check_new_name("buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(self._cannot_assign(tensor, "buffer", name, "Tensor"))
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module under a name."""
        self._check_new_name("module", name, "_modules")
        if module is not None and not isinstance(module, Module):
            raise TypeError(self._cannot_assign(module, "module", name, "Module"))
        self._put_module(name, module)

    add_module = register_module

    def _put_module(self, name: str, module: Module | None) -> None:
        self._modules[name] = module
        if module is not None:
            module._set_scope_name(self._scope_name_of_child(name))

    def _scope_name_of_child(self, name: str) -> str:
        return name

    def _set_scope_name(self, name: str) -> None:
        self.__dict__["_scope_name"] = name

    def _check_new_name(self, kind: str, name: str, table: str) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(_before_init(kind))
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name!r}')
        if not name:
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"attribute '{name}' already exists")

    def _cannot_assign(self, value: Any, kind: str, name: str, wanted: str) -> str:
        cure = "Wrap it: nn.Parameter(value)" if wanted == "Parameter" and isinstance(value, Tensor) else ""
        seen = type(value).__name__
        return message(
            type(self).__name__,
            f"cannot assign '{seen}' as {kind} '{name}' ({wanted} or None expected)",
            "",
            cure,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._drop(name, "parameter", "_parameters")
            self.register_parameter(name, value)
            return
        if isinstance(value, Module):
            self._drop(name, "module", "_modules")
            self._put_module(name, value)
            return
        if isinstance(value, Buffer):
            self._drop(name, "buffer", "_buffers")
            self.register_buffer(name, value, value.persistent)
            return
        own = self.__dict__
        if name in own.get("_parameters", ()):
            if value is not None:
                raise TypeError(self._cannot_assign(value, "parameter", name, "Parameter"))
            self._parameters[name] = None
        elif name in own.get("_modules", ()):
            if value is not None:
                raise TypeError(self._cannot_assign(value, "module", name, "Module"))
            self._modules[name] = None
        elif name in own.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(self._cannot_assign(value, "buffer", name, "Tensor"))
            self._assign(self._buffers, name, value)
        else:
            self._assign(own, name, value)

    def _assign(self, table: dict[str, Any], name: str, value: Any) -> None:
        """Set a buffer or a plain attribute; a trace may have to do it again in every call."""
        if STATE.trace is not None:
            if isinstance(value, Tensor):
                STATE.trace.saw_attribute(table, name)
            elif name == "training":
                STATE.trace.saw_mode(self)
        if table is self.__dict__:
            object.__setattr__(self, name, value)
        else:
            table[name] = value
        CHANGES()

    def _drop(self, name: str, kind: str, keep: str) -> None:
        """Take a name out of everywhere but one table, where its new value keeps its place."""
        own = self.__dict__
        if "_parameters" not in own:
            raise AttributeError(_before_init(kind))
        own.pop(name, None)
        for table in _TABLES:
            if table != keep:
                own[table].pop(name, None)
        if keep != "_buffers":
            self._non_persistent_buffers_set.discard(name)

    def __getattr__(self, name: str) -> Any:
        # Only reached when the ordinary look-up found nothing. Written out, because it is on every hot path.
        own = self.__dict__
        if "_parameters" in own:
            table = own["_parameters"]
            if name in table:
                return table[name]
            table = own["_modules"]
            if name in table:
                return table[name]
            table = own["_buffers"]
            if name in table:
                return table[name]
        elif name in _TABLES or name.endswith("_hooks") or name in ("_scope_name", "training"):
            raise AttributeError(_before_init("anything", type(self).__name__))
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*object.__dir__(self), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if name.isidentifier())

    # --- state dictionaries --------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Parameters and persistent buffers by path. The tensors share memory with the module's.

        A module that defines ``get_extra_state()`` and ``set_extra_state(state)`` adds what the first
        returns under the key ``_extra_state``. As in PyTorch, one that stores itself in another way defines
        ``_save_to_state_dict`` and ``_load_from_state_dict``. ``args`` are the other arguments, in their order.

        >>> import wengert as wg
        >>> list(wg.nn.Sequential(wg.nn.Linear(2, 1)).state_dict())
        ['0.weight', '0.bias']
        """
        given: Any = (*args, *(destination, prefix, keep_vars)[len(args) :])
        return state.collect(self, *given)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put what belongs to this module itself into a state dictionary."""
        state.save_own(self, destination, prefix, keep_vars)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: Any,
        unexpected_keys: Any, error_msgs: Any,
    ) -> None:  # fmt: skip
        """Compare a state dictionary with this module itself; what fits is loaded when everything does."""
        state.plan_own(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> state.IncompatibleKeys:
        """Copy a state dictionary in. When anything does not fit, raise and change nothing.

        Args:
            state_dict: tensors or arrays by path, as `state_dict` gives them.
            strict: whether missing and unexpected keys are errors. Wrong shapes always are.
            assign: put the given tensors in the place of the module's instead of copying.

        Returns:
            The missing and the unexpected keys.

        Raises:
            StateDictError: (a RuntimeError) listing everything that does not fit.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        plan = state.plan_load(self, state_dict)
        keys = state.IncompatibleKeys(plan.missing, plan.unexpected)
        hooks: list[tuple[Module, Callable[..., Any]]] = []
        self.apply(lambda module: hooks.extend((module, hook) for hook in state_hooks(module, "loaded")))
        state.raise_if_unfit(self, plan, strict and not hooks)
        state.write(plan, assign)
        for module, hook in hooks:
            hook(module, keys)
        if hooks:
            state.raise_if_unfit(self, plan, strict)
        return keys

    # --- modes, gradients ----------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode (dropout is active, and so on) here and in all sub-modules."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and in all sub-modules."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say for all parameters whether they need a gradient."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad = param.grad.detach().zero_()

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every module in this one and then on this one, for example to initialise."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # --- text ----------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands in the parentheses of the module's repr; override it in a layer."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {indent(repr(module))}" for name, module in self._modules.items()]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"


def indent(text: str) -> str:
    """Indent all lines of a text but the first."""
    return text.replace("\n", "\n  ")


def _before_init(kind: str, name: str = "") -> str:
    what = f"cannot assign {kind}" if not name else f"{name}: cannot be used"
    return f"{what} before Module.__init__() call. Call super().__init__() first in __init__."
