"""Parametrizations: a parameter of a module computed from others, each time it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...config import no_grad
from ...errors import ArgumentError, ShapeError, message
from ..container import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

_cache: dict[tuple[int, str], Any] | None = None


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized tensor once inside the ``with`` block."""
    global _cache
    before, _cache = _cache, {} if _cache is None else _cache
    try:
        yield
    finally:
        _cache = before


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and what they compute it from: ``original``, and so on."""

    def __init__(self, modules: list[Module], original: Parameter, unsafe: bool = False) -> None:
        super().__init__(modules)
        self.unsafe = unsafe
        values = _inverted(modules, original)
        self.is_tensor = not isinstance(values, tuple)
        self.ntensors = 1 if self.is_tensor else len(values)
        for name, value in zip(self._originals(), values if isinstance(values, tuple) else (values,), strict=True):
            if isinstance(original, Parameter):
                kept = original if value is original else Parameter(value.detach(), original.requires_grad)
                self.register_parameter(name, kept)
            else:
                self.register_buffer(name, value)

    def _originals(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{k}" for k in range(self.ntensors)]

    def right_inverse(self, value: Any) -> None:
        """Set the originals so that the tensor becomes ``value``."""
        with no_grad():
            values = _inverted(list(self), value)
            for name, new in zip(self._originals(), values if isinstance(values, tuple) else (values,), strict=True):
                getattr(self, name).copy_(new)

    def forward(self) -> Any:
        x = self[0](*(getattr(self, name) for name in self._originals()))
        for module in list(self)[1:]:
            x = module(x)
        return x


def _inverted(modules: list[Module], value: Any) -> Any:
    with no_grad():
        for module in reversed(modules):
            if hasattr(module, "right_inverse"):
                value = module.right_inverse(value)  # type: ignore[operator]
    return value


def _read(name: str) -> property:
    def get(self: Any) -> Any:
        # A property that fails with AttributeError would be looked up in the module's tables instead.
        if _cache is None:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def _class_of(base: type, names: list[str]) -> type:
    """A class for one module: that of the module, with tensors that are computed when they are read."""
    found = {"__module__": base.__module__, "__reduce_ex__": _reduced, **{name: _read(name) for name in names}}
    return type(f"Parametrized{base.__name__}", (base,), found)


def _reduced(self: Any, protocol: Any) -> tuple[Any, ...]:
    """How a module is copied and pickled: each copy has a class of its own."""
    return _made_again, (type(self).__bases__[0], list(self.parametrizations)), self.__getstate__()


def _made_again(base: type, names: list[str]) -> Any:
    made: Any = _class_of(base, names)
    return made.__new__(made)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute ``module.tensor_name`` as ``parametrization(original)``.

    The original moves to ``module.parametrizations.<tensor_name>.original``. A parametrization with
    ``right_inverse`` says which original gives a wanted tensor, and starts from the present one; it may
    give several, which are then ``original0``, ``original1`` and so on.

    Args:
        module: what to change; its class changes, too.
        tensor_name: a parameter or buffer.
        parametrization: a module from the original to the tensor.
        unsafe: allow shape and dtype to change.

    >>> import wengert as wg
    >>> from wengert import nn
    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> wg.equal(layer.weight, layer.weight.T), list(layer.state_dict())
    (True, ['bias', 'parametrizations.weight.original'])
    """
    if is_parametrized(module, tensor_name):
        entry: Any = module.parametrizations[tensor_name]
        with no_grad():
            value = getattr(module, tensor_name)
            if hasattr(parametrization, "right_inverse"):
                entry.right_inverse(parametrization.right_inverse(value))  # type: ignore[operator]
        entry.append(parametrization)
        return module
    original = module._parameters.get(tensor_name, module._buffers.get(tensor_name))
    if original is None:
        seen = f"{type(module).__name__} has no parameter or buffer {tensor_name!r}"
        raise ArgumentError(message("register_parametrization", seen))
    entry = ParametrizationList([parametrization], original, unsafe)  # type: ignore[arg-type]
    if not unsafe:
        with no_grad():
            made = entry()
        if tuple(made.shape) != tuple(original.shape) or made.dtype != original.dtype:
            raise ShapeError(
                message(
                    "register_parametrization",
                    "the parametrization changes shape or dtype",
                    f"{made.dtype} {tuple(made.shape)} from {original.dtype} {tuple(original.shape)}",
                    "Pass unsafe=True if this is meant",
                )
            )
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.__class__ = _class_of(type(module), [])
        module.parametrizations = ModuleDict()
    setattr(type(module), tensor_name, _read(tensor_name))
    module.parametrizations[tensor_name] = entry
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module, or one tensor of it, is parametrized."""
    table = module._modules.get("parametrizations")
    return isinstance(table, ModuleDict) and (tensor_name is None or tensor_name in table)


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a tensor an ordinary parameter again, with its present value or with its original's."""
    if not is_parametrized(module, tensor_name):
        seen = f"{type(module).__name__}.{tensor_name} is not parametrized"
        raise ArgumentError(message("remove_parametrizations", seen))
    entry: Any = module.parametrizations[tensor_name]
    first = getattr(entry, entry._originals()[0])
    if not leave_parametrized and not entry.is_tensor:
        wanted = "leave_parametrized=False needs a single original"
        raise ArgumentError(message("remove_parametrizations", wanted))
    with no_grad():
        value = (getattr(module, tensor_name) if leave_parametrized else first).detach()
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if isinstance(first, Parameter):
        module.register_parameter(tensor_name, Parameter(value, first.requires_grad))
    else:
        module.register_buffer(tensor_name, value)
    if not len(module.parametrizations):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before it was parametrized.

    >>> import wengert as wg
    >>> layer = wg.nn.utils.parametrizations.orthogonal(wg.nn.Linear(3, 3))
    >>> type(layer).__name__, wg.nn.utils.parametrize.type_before_parametrizations(layer).__name__
    ('ParametrizedLinear', 'Linear')
    """
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Parametrize a module as another one is; both then share the parametrizations and the originals.

    Args:
        from_module: whose parametrizations are taken; if it has none, nothing happens.
        to_module: is changed, and returned. What it lacks is made.
        tensor_name: the only tensor to do this for.
    """
    if not is_parametrized(from_module):
        return to_module
    given: Any = from_module.parametrizations
    for name in list(given) if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in given[name]:
            register_parametrization(to_module, name, parametrization, unsafe=given[name].unsafe)
        entry: Any = to_module.parametrizations[name]  # type: ignore[index]
        for original in given[name]._originals():
            setattr(entry, original, getattr(given[name], original))
    return to_module
