"""Pruning: weights multiplied by a mask of zeros and ones, by a hook before the call.

The module keeps the parameter as ``weight_orig`` and the mask as the buffer ``weight_mask``; ``weight`` is their
product.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from ... import api
from ...config import no_grad
from ...errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, message
from ...tensor import Tensor
from .convert_parameters import parameters_to_vector

Module = Any  # modules import this package

_DEFINES_DIM = 'Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` defined.'


class BasePruningMethod(ABC):
    """Base of all ways to prune; a new one defines ``PRUNING_TYPE`` and `compute_mask`.

    ``PRUNING_TYPE`` says what a mask is computed of when the tensor was pruned before: ``'unstructured'`` of the
    entries that are left, ``'structured'`` of the channels along ``dim`` that are left, ``'global'`` of everything.

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> class Negative(prune.BasePruningMethod):
    ...     PRUNING_TYPE = "unstructured"
    ...     def compute_mask(self, t, default_mask):
    ...         return default_mask * (t > 0)
    >>> Negative().prune(wg.tensor([1.0, -2.0, 3.0])).tolist()
    [1.0, -0.0, 3.0]
    """

    PRUNING_TYPE: str
    _tensor_name: str | None = None

    def __call__(self, module: Module, inputs: Any) -> None:
        assert self._tensor_name is not None
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of ``t``'s shape, given its values (or its importance scores) and the mask so far."""

    def apply_mask(self, module: Module) -> Tensor:
        """The pruned tensor: the original times the mask."""
        if self._tensor_name is None:
            raise ArgumentError(message("apply_mask", "the module has to be pruned", type(module).__name__))
        original = getattr(module, self._tensor_name + "_orig")
        return getattr(module, self._tensor_name + "_mask").to(original.dtype) * original

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune ``module``'s parameter ``name`` with ``cls(*args, **kwargs)``, on top of what has pruned it before.

        Raises:
            ShapeError: ``importance_scores`` have another shape than the parameter.
        """
        tensor = getattr(module, name)
        scores = _scores(tensor, importance_scores)
        method = cls(*args, **kwargs)
        method._tensor_name = name
        key, before = next(_hooks(module, name), (None, None))
        if before is None:
            mask = api.ones_like(tensor)
        else:
            if not isinstance(before, PruningContainer):
                before = PruningContainer(before)
            mask = getattr(module, name + "_mask").detach().clone()
        with no_grad():  # before anything is changed, so that an error leaves the module as it was
            mask = (method if before is None else before._with(method)).compute_mask(scores.detach(), default_mask=mask)
        if before is None:
            del module._parameters[name]
            module.register_parameter(name + "_orig", tensor)
        else:
            del module._forward_pre_hooks[key]
            before.add_pruning_method(method)
            method = before
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """The pruned ``t``; no module is changed."""
        mask = api.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(_scores(t, importance_scores), default_mask=mask)

    def remove(self, module: Module) -> None:
        """Make the pruned tensor an ordinary parameter again; what is zero stays zero."""
        name = self._tensor_name
        if name is None:
            raise ArgumentError(message("remove", "the module has to be pruned before", type(module).__name__))
        with no_grad():
            pruned = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters.pop(name + "_orig")
        del module._buffers[name + "_mask"]
        original.data = pruned
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Pruning methods of one tensor, each applied to what the earlier ones have left."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add one more; it must prune the same tensor."""
        if not isinstance(method, BasePruningMethod):
            raise DTypeError(message("add_pruning_method", "not a BasePruningMethod", type(method).__name__))
        if not self._pruning_methods and self._tensor_name is None:
            self._tensor_name = method._tensor_name
        if self._tensor_name != method._tensor_name:
            wanted = f"can only add pruning methods acting on the parameter named {self._tensor_name!r}"
            raise ArgumentError(message("add_pruning_method", wanted, repr(method._tensor_name)))
        self._pruning_methods += (method,)

    def _with(self, method: BasePruningMethod) -> PruningContainer:
        return PruningContainer(*self._pruning_methods, method)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far, with the newest method's mask in what it has left."""
        method = self._pruning_methods[-1]
        left = _left(method, default_mask)
        mask = default_mask.to(t.dtype, copy=True)
        mask[left] = method.compute_mask(t[left], default_mask=default_mask[left]).to(mask.dtype)
        return mask


def _left(method: BasePruningMethod, mask: Any) -> Any:
    """An index of what a method looks at in a tensor that has been pruned before."""
    if method.PRUNING_TYPE == "unstructured":
        return mask == 1
    if method.PRUNING_TYPE == "global":
        return ...
    if method.PRUNING_TYPE != "structured":
        raise ArgumentError(message("compute_mask", "unrecognized PRUNING_TYPE", repr(method.PRUNING_TYPE)))
    if not hasattr(method, "dim"):
        raise AttributeError(_DEFINES_DIM)
    dim = _checked_dim(mask, method.dim)  # type: ignore[attr-defined]
    others = [d for d in range(mask.ndim) if d != dim]
    return (slice(None),) * dim + ((mask.sum(others) != 0).nonzero().flatten(),)


class Identity(BasePruningMethod):
    """Prunes nothing, but gives the module a mask."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class _Amount(BasePruningMethod):
    """A method that prunes a number of entries or channels, or a fraction of them."""

    def __init__(self, amount: float) -> None:
        if not isinstance(amount, numbers.Real):
            raise DTypeError(message(type(self).__name__, "amount must be int or float", type(amount).__name__))
        if amount < 0 or (not isinstance(amount, numbers.Integral) and not amount <= 1):
            wanted = "amount must be a float in the range [0, 1] or a non-negative integer"
            raise ArgumentError(message(type(self).__name__, wanted, str(amount)))
        self.amount = amount

    def count(self, of: int) -> int:
        """How many of so many go."""
        if not isinstance(self.amount, numbers.Integral):
            return round(self.amount * of)
        if self.amount > of:
            wanted = f"amount must not be larger than the {of} that there are to prune"
            raise ArgumentError(message(type(self).__name__, wanted, str(self.amount)))
        return int(self.amount)


class _Unstructured(_Amount):
    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        gone = api.topk(self.order(t).flatten(), self.count(t.numel()), largest=False).indices
        return default_mask.flatten().index_fill(0, gone, 0.0).reshape(default_mask.shape)

    @abstractmethod
    def order(self, t: Any) -> Any:
        """The entries with the smallest numbers go."""


class RandomUnstructured(_Unstructured):
    """Prunes entries by chance. Args: ``amount``, a number of entries or a fraction of them."""

    def order(self, t: Any) -> Any:
        return api.rand_like(t)


class L1Unstructured(_Unstructured):
    """Prunes the entries with the smallest absolute values. Args: ``amount``, their number or fraction."""

    def order(self, t: Any) -> Any:
        return t.abs()


class _Structured(_Amount):
    PRUNING_TYPE = "structured"
    dim: int

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if t.ndim <= 1:
            wanted = "structured pruning needs a tensor with channels, of at least 2 dimensions"
            raise ShapeError(message(type(self).__name__, wanted, f"shape {tuple(t.shape)}"))
        dim = _checked_dim(t, self.dim)
        gone = api.topk(self.order(t, dim), self.count(t.shape[dim]), largest=False).indices
        return default_mask.index_fill(dim, gone, 0.0)

    @abstractmethod
    def order(self, t: Any, dim: int) -> Any:
        """One number a channel; the channels with the smallest go."""


class RandomStructured(_Structured):
    """Prunes channels by chance.

    Args:
        amount: a number of channels, or a fraction of them.
        dim: the dimension of the channels.
    """

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def order(self, t: Any, dim: int) -> Any:
        return api.rand(t.shape[dim])


class LnStructured(_Structured):
    """Prunes the channels with the smallest norms.

    Args:
        amount: a number of channels, or a fraction of them.
        n: the order of the norm, as `wengert.norm` takes it.
        dim: the dimension of the channels.
    """

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount)
        self.n, self.dim = n, dim

    def order(self, t: Any, dim: int) -> Any:
        return api.norm(t, self.n, [d for d in range(t.ndim) if d != dim])


class CustomFromMask(BasePruningMethod):
    """Prunes what a given mask has zeros for."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if default_mask.shape != self.mask.shape:
            seen = f"{tuple(self.mask.shape)} and {tuple(default_mask.shape)}"
            raise ShapeError(message("CustomFromMask", "the mask must have the tensor's shape", seen))
        return default_mask * self.mask.to(default_mask.dtype)


# --- functions ---------------------------------------------------------------------------------------


def identity(module: Module, name: str) -> Module:
    """Give ``module``'s parameter ``name`` a mask of ones; for programs that want the same keys everywhere.

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> list(prune.identity(wg.nn.Linear(2, 3), "bias").state_dict())
    ['weight', 'bias_orig', 'bias_mask']
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune entries of ``module``'s parameter ``name`` by chance.

    Args:
        module: is changed, and returned.
        name: of the parameter.
        amount: how many entries (int), or which fraction of them (float).

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> (prune.random_unstructured(wg.nn.Linear(2, 3), "weight", amount=2).weight == 0).sum().item()
    2
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune the entries of ``module``'s parameter ``name`` with the smallest absolute values.

    Args:
        module: is changed, and returned.
        name: of the parameter.
        amount: how many entries (int), or which fraction of them (float).
        importance_scores: numbers of the parameter's shape to go by instead of its values.

    Source: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NIPS 2015.

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> layer = wg.nn.Linear(4, 1, bias=False)
    >>> layer.weight.data = wg.tensor([[0.1, -2.0, 0.3, 1.0]])
    >>> prune.l1_unstructured(layer, "weight", amount=0.5).weight.detach()
    tensor([[ 0., -2.,  0.,  1.]])
    >>> sorted(layer.state_dict())
    ['weight_mask', 'weight_orig']
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune channels along ``dim`` of ``module``'s parameter ``name`` by chance.

    Args:
        module: is changed, and returned.
        name: of the parameter.
        amount: how many channels (int), or which fraction of them (float).
        dim: the dimension of the channels.
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune the channels along ``dim`` of ``module``'s parameter ``name`` whose norms are the smallest.

    Args:
        module: is changed, and returned.
        name: of the parameter.
        amount: how many channels (int), or which fraction of them (float).
        n: the order of the norm: a number, infinite ones too, or ``'fro'``.
        dim: the dimension of the channels.
        importance_scores: numbers of the parameter's shape to take the norms of instead of its values.

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> layer = prune.ln_structured(wg.nn.Conv2d(5, 4, 3), "weight", amount=1, n=2, dim=0)
    >>> (layer.weight_mask.sum((1, 2, 3)) == 0).sum().item()
    1
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune several parameters as if they were one vector.

    Args:
        parameters: pairs of a module and the name of a parameter of it.
        pruning_method: an unstructured one, such as `L1Unstructured`.
        importance_scores: for some of the pairs, numbers to go by instead of the parameters' values.
        **kwargs: of ``pruning_method``, such as ``amount``.

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> net = wg.nn.Sequential(wg.nn.Linear(10, 4), wg.nn.Linear(4, 1))
    >>> prune.global_unstructured([(layer, "weight") for layer in net], prune.L1Unstructured, amount=10)
    >>> sum((layer.weight == 0).sum().item() for layer in net)
    10
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    if not isinstance(importance_scores, dict | None):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        wanted = "only methods with PRUNING_TYPE 'unstructured' prune several tensors at once"
        raise TypeError(message("global_unstructured", wanted, f"{pruning_method.__name__}, {method.PRUNING_TYPE!r}"))
    pairs = list(parameters)
    tensors = [getattr(module, name) for module, name in pairs]
    with no_grad():
        found: dict[Any, Any] = importance_scores or {}
        scores = parameters_to_vector([found.get(pair, t) for pair, t in zip(pairs, tensors)])
        masks = [getattr(module, name + "_mask", api.ones_like(t)) for (module, name), t in zip(pairs, tensors)]
        whole = PruningContainer(method).compute_mask(scores, parameters_to_vector(masks))
    for (module, name), t, part in zip(pairs, tensors, whole.split([t.numel() for t in tensors])):
        custom_from_mask(module, name, part.reshape(t.shape))


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune ``module``'s parameter ``name`` where ``mask`` is zero.

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> prune.custom_from_mask(wg.nn.Linear(5, 3), "bias", wg.tensor([0, 1, 0])).bias_mask
    tensor([0., 1., 0.])
    """
    CustomFromMask.apply(module, name, mask)
    return module


def remove(module: Module, name: str) -> Module:
    """Make ``module``'s pruned parameter ``name`` an ordinary one again; what is zero stays zero.

    Raises:
        ArgumentError: it is not pruned.
    """
    for key, hook in _hooks(module, name):
        hook.remove(module)
        del module._forward_pre_hooks[key]
        return module
    wanted = f"parameter {name!r} has to be pruned before pruning can be removed"
    raise ArgumentError(message("remove", wanted, type(module).__name__))


def is_pruned(module: Module) -> bool:
    """Whether something in ``module`` is pruned.

    >>> import wengert as wg
    >>> from wengert.nn.utils import prune
    >>> net = wg.nn.Sequential(wg.nn.Linear(5, 7))
    >>> prune.is_pruned(net), prune.is_pruned(prune.identity(net[0], "weight")), prune.is_pruned(net)
    (False, True, True)
    """
    return any(True for child in module.modules() for _ in _hooks(child))


def _hooks(module: Module, name: str | None = None) -> Iterator[tuple[int, BasePruningMethod]]:
    """The pruning hooks of a module itself, of one tensor or of all."""
    for key, (hook, _) in list(module._forward_pre_hooks.items()):
        if isinstance(hook, BasePruningMethod) and (name is None or hook._tensor_name == name):
            yield key, hook


def _scores(t: Any, importance_scores: Any) -> Any:
    if importance_scores is None:
        return t
    if importance_scores.shape != t.shape:
        seen = f"{tuple(importance_scores.shape)} and {tuple(t.shape)}"
        raise ShapeError(message("prune", "importance_scores must have the tensor's shape", seen))
    return importance_scores


def _checked_dim(t: Any, dim: int) -> int:
    if not -t.ndim <= dim < t.ndim:
        raise IndexRangeError(message("prune", f"dim {dim} is out of range", f"shape {tuple(t.shape)}"))
    return dim % t.ndim
