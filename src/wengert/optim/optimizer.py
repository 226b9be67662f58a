"""``Optimizer``: parameter groups, state, and the step around the mathematics of each method."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import api
from ..config import CHANGES, STATE, enable_grad, no_grad, quietly
from ..errors import ArgumentError, message
from ..nn.hooks import RemovableHandle
from ..tensor import Tensor
from .fused import Fused

_PRE_HOOKS: OrderedDict[int, Any] = OrderedDict()
_POST_HOOKS: OrderedDict[int, Any] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every step of every optimizer.

    It may return new ``(args, kwargs)``.
    """
    return RemovableHandle(_PRE_HOOKS, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
    return RemovableHandle(_POST_HOOKS, hook)


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A class's ``step`` with the hooks around it; one inside another's (``super().step()``) has none of its own."""
    ours = step.__module__.partition(".")[0] == __name__.partition(".")[0]

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        hooks = self._hooks
        run = step if STATE.trace is None or ours else functools.partial(_followed, step)
        if self._stepping or not (hooks["step_pre"] or hooks["step_post"] or _PRE_HOOKS or _POST_HOOKS):
            return run(self, *args, **kwargs)
        self._stepping = True
        try:
            for hook in (*_PRE_HOOKS.values(), *hooks["step_pre"].values()):
                new = hook(self, (self, *args), kwargs)
                if new is not None:
                    if not (isinstance(new, tuple) and len(new) == 2):
                        raise ArgumentError(
                            message("step pre-hook", "must return None or a tuple of (new_args, new_kwargs)", repr(new))
                        )
                    args, kwargs = new[0][1:], new[1]
            result = run(self, *args, **kwargs)
            for hook in (*hooks["step_post"].values(), *_POST_HOOKS.values()):
                hook(self, (self, *args), kwargs)
        finally:
            self._stepping = False
        return result

    return wrapper


def _followed(step: Callable[..., Any], self: Optimizer, *args: Any, **kwargs: Any) -> Any:
    """A step of the user's own while a graph is traced: options may be symbols, and what it keeps is watched."""
    trace: Any = STATE.trace
    trace.saw_optimizer(self)
    groups = self.param_groups
    self.param_groups = given = [trace.options(self, i, group) for i, group in enumerate(groups)]
    before = [dict(group) for group in given]
    try:
        return step(self, *args, **kwargs)
    finally:
        self.param_groups = groups
        for group, now, was in zip(groups, given, before, strict=True):
            for key in [k for k, v in now.items() if v is not was.get(k, required)]:
                group[key] = now[key]


_EVENTS = ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_pre", "load_post")


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()  # the default of an option that every parameter group has to give


class Optimizer:
    """Base of all optimizers. A method overrides `update`, which changes one parameter.

    Args:
        params: tensors, or pairs (name, tensor), or dictionaries, each a group with its own options:
            ``{"params": tensors, "lr": 0.1}``.
        defaults: the options of groups that do not give them.

    Attributes:
        param_groups: list of dictionaries with ``"params"`` and the options; change them freely.
        state: what the method keeps for each parameter.

    >>> import wengert as wg
    >>> w = wg.nn.Parameter(wg.tensor([1.0, 2.0]))
    >>> optimizer = wg.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.0, 0.0]
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                message(
                    type(self).__name__,
                    "params argument given to the optimizer should be an iterable of Tensors or dicts",
                    "a Tensor",
                    "Put it in a list",
                )
            )
        self.defaults = defaults
        self._hooks = _no_hooks()
        self._fused = Fused()
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params.items() if isinstance(params, Mapping) else params)
        if not groups:
            raise ArgumentError(
                message(
                    type(self).__name__,
                    "optimizer got an empty parameter list",
                    cure="Does the model hold its layers in a plain list? Then use nn.ModuleList",
                )
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    _opt_called = False  # whether `step` has run: learning-rate schedulers ask
    _stepping = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_hooks", "_fused")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_hooks", _no_hooks())
        self.__dict__.setdefault("_fused", Fused())

    # --- hooks ---------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return new ``(args, kwargs)``."""
        return RemovableHandle(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return RemovableHandle(self._hooks["step_post"], hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before `state_dict`."""
        return RemovableHandle(self._hooks["state_dict_pre"], hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after `state_dict`; it may return another one."""
        return RemovableHandle(self._hooks["state_dict_post"], hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before `load_state_dict`, with a shallow copy; it may return another."""
        return RemovableHandle(self._hooks["load_pre"], hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` after `load_state_dict`."""
        return RemovableHandle(self._hooks["load_post"], hook, prepend)

    # --- what a method writes ------------------------------------------------------------------------

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one parameter in place, from its gradient, its state (empty at first) and its group."""
        raise NotImplementedError(f"{type(self).__name__} defines neither update nor step")

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise if an option of a group has a value that the method cannot take."""

    # --- stepping ------------------------------------------------------------------------------------

    @_hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradient anew; its result is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            if not self._fused.step(self):
                quietly(self._update_all)
        return loss

    def _update_all(self) -> None:
        trace = STATE.trace
        for i, group in enumerate(self.param_groups):
            if trace is not None:
                group = trace.options(self, i, group)
            for param in group["params"]:
                grad = param.grad
                if grad is not None:
                    state = self.state[param]
                    self.update(param, grad, state, group)
                    if trace is not None:
                        trace.saw_state(self, param, state)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad = (param.grad.detach() if param.grad.requires_grad else param.grad).zero_()

    # --- groups --------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own options, for example when layers are unfrozen during training."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = {**param_group, "params": self._checked_params(param_group["params"])}
        self._split_names(group)
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ArgumentError(
                    message(
                        type(self).__name__,
                        f"parameter group didn't specify a value of required optimization parameter {name}",
                    )
                )
            group.setdefault(name, default)
        self._check_tensors(group["params"])
        self._check_group(group)
        self.param_groups.append(group)
        CHANGES()

    def _checked_params(self, params: Any) -> list[Any]:
        if isinstance(params, Tensor):
            return [params]
        if isinstance(params, set | frozenset):
            raise TypeError(
                message(
                    type(self).__name__,
                    "optimizer parameters need to be organized in ordered collections, "
                    "but the ordering of tensors in sets will change between runs",
                    cure="Use a list instead",
                )
            )
        return list(params)

    def _split_names(self, group: dict[str, Any]) -> None:
        """Turn pairs (name, tensor) into a list of tensors and a list of names."""
        entries = group["params"]
        pairs = [isinstance(entry, tuple) for entry in entries]
        if not any(pairs):
            named = False
        elif all(pairs):
            group["param_names"] = [name for name, _ in entries]
            group["params"] = [param for _, param in entries]
            named = True
        else:
            raise ArgumentError(
                message(
                    type(self).__name__,
                    "all optimizer params should be with/without names",
                    "a mixture of both",
                )
            )
        if self.param_groups and named != ("param_names" in self.param_groups[0]):
            raise ArgumentError(
                message(type(self).__name__, "all param groups should be with/without names", "a mixture of both")
            )

    def _check_tensors(self, params: list[Any]) -> None:
        name = type(self).__name__
        taken = {id(param) for group in self.param_groups for param in group["params"]}
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    message(
                        name,
                        "optimizer can only optimize Tensors, but one of the params is",
                        str(type(param)),
                    )
                )
            if not (param.is_leaf or param.retains_grad):
                raise ArgumentError(
                    message(
                        name,
                        "can't optimize a non-leaf Tensor",
                        "",
                        "Optimize the tensor that it was computed from",
                    )
                )
            if id(param) in taken:
                raise ArgumentError(message(name, "some parameters appear in more than one parameter group"))
        if len({id(param) for param in params}) != len(params):
            raise ArgumentError(message(name, "a parameter group contains duplicate parameters"))

    # --- state dictionaries --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and options, with parameters replaced by their numbers: PyTorch's format."""
        for hook in self._hooks["state_dict_pre"].values():
            hook(self)
        number: dict[int, int] = {}
        for group in self.param_groups:
            for param in group["params"]:
                number.setdefault(id(param), len(number))
        groups = [{**group, "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        state = {
            number.get(id(key), key) if isinstance(key, Tensor) else key: value for key, value in self.state.items()
        }
        result: Any = {"state": state, "param_groups": groups}
        for hook in self._hooks["state_dict_post"].values():
            new = hook(self, result)
            result = result if new is None else new
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state and options of another optimizer of the same make; copies them.

        The other's parameters and this one's are matched by position. When the groups do not fit,
        raise and change nothing.
        """
        state_dict = dict(state_dict)
        for hook in self._hooks["load_pre"].values():
            new = hook(self, state_dict)
            state_dict = state_dict if new is None else new
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ArgumentError(
                message(
                    "load_state_dict",
                    "loaded state dict has a different number of parameter groups",
                    f"{len(saved)} loaded, {len(self.param_groups)} here",
                )
            )
        param_of: dict[Any, Tensor] = {}
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            if len(theirs["params"]) != len(ours["params"]):
                raise ArgumentError(
                    message(
                        "load_state_dict",
                        "loaded state dict contains a parameter group that doesn't match the size of optimizer's group",
                        f"{len(theirs['params'])} parameters loaded, {len(ours['params'])} here",
                    )
                )
            param_of.update(zip(theirs["params"], ours["params"], strict=True))
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            param = param_of.get(key)
            state[key if param is None else param] = copy.deepcopy(value) if param is None else _adopt(param, value)
        groups = []
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            # Options that the saved one does not know (another version, PyTorch) keep our value.
            groups.append({**ours, **copy.deepcopy({**theirs, "params": None}), "params": ours["params"]})
        self.state, self.param_groups = state, groups
        for hook in self._hooks["load_post"].values():
            hook(self)

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for number, group in enumerate(self.param_groups):
            text += f"\nParameter Group {number}\n"
            text += "".join(
                f"    {key}: {group[key]}\n" for key in sorted(group) if key not in ("params", "param_names")
            )
        return text + ")"


def _no_hooks() -> dict[str, OrderedDict[int, Any]]:
    return {event: OrderedDict() for event in _EVENTS}


def _adopt(param: Tensor, value: Any, key: str = "") -> Any:
    """A copy of one entry of a loaded state, brought to the parameter's dtype where that makes sense."""
    if isinstance(value, dict):
        return {k: _adopt(param, v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_adopt(param, v, key) for v in value)
    if not hasattr(value, "__array__"):
        return copy.deepcopy(value)
    tensor = value.detach().clone() if isinstance(value, Tensor) else api.tensor(np.asarray(value))
    # The step count and the like stay float32: in float16 a count would stand still at 2048.
    if key in ("step", "eta", "mu", "mu_product"):
        return tensor.to(dtype=api.float32)
    return tensor.to(dtype=param.dtype) if param.dtype.is_floating_point else tensor
