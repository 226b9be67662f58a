"""Function transforms: ``wg.func.grad, vjp, jvp, vmap, jacobian, hessian …``.

Arguments and results may be nested dicts, lists, tuples and dataclasses of tensors. All transforms
compose with each other in any nesting.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from . import tree
from .config import enable_grad
from .errors import ArgumentError, GraphError, message
from .functional.creation import as_tensor
from .graph.handle import Handle
from .transform import flat
from .transform.jacobian import hessian, jacfwd, jacobian, jacrev

F = Callable[..., Any]
ArgNums = int | Sequence[int]


def _tensors(name: str, leaves: Sequence[Any]) -> list[Any]:
    out: list[Any] = []
    for x in leaves:
        if not isinstance(x, Handle):
            if not isinstance(x, (int, float, complex)) or isinstance(x, bool):
                raise ArgumentError(message(name, "arguments must be tensors", type(x).__name__))
            x = as_tensor(float(x) if isinstance(x, int) else x)
        out.append(x)
    return out


def _result(name: str, leaves: Sequence[Any]) -> list[Any]:
    for x in leaves:
        if not isinstance(x, Handle):
            raise ArgumentError(
                message(name, "the function must return tensors", type(x).__name__, "Use has_aux=True for other things")
            )
    return list(leaves)


def _shaped_like(name: str, wrong: str, given: list[Any], shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    for g, shape in zip(given, shapes, strict=True):
        if g.aval.shape != shape:
            raise ArgumentError(message(name, f"a {wrong}", f"{g.aval} for {list(shape)}"))
    return given


class _Flat:
    """A function of nested arguments as one of flat handles; remembers the structure of its result."""

    def __init__(self, name: str, f: F, structure: tree.Structure, has_aux: bool) -> None:
        self.name, self.f, self.structure, self.has_aux = name, f, structure, has_aux
        self.out: tree.Structure | None = None
        self.aux: Any = None

    def __call__(self, *xs: Any) -> list[Any]:
        out = self.f(*tree.unflatten(self.structure, xs))
        if self.has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise ArgumentError(message(self.name, "with has_aux=True the function must return (output, aux)"))
            out, self.aux = out
            self.aux = tree.map(lambda a: a.detach() if isinstance(a, Handle) else a, self.aux)
        leaves, self.out = tree.flatten(out)
        return _result(self.name, leaves)


def vjp(f: F, *primals: Any, has_aux: bool = False) -> Any:
    """Outputs, and the function from cotangents of the outputs to cotangents of the inputs.

    Returns:
        ``(output, vjp_fn)``, with ``has_aux`` ``(output, vjp_fn, aux)``. ``vjp_fn(cotangents)`` returns
        a tuple with one entry an argument.

    >>> import wengert as wg
    >>> y, pull = wg.func.vjp(lambda x: x.sin(), wg.tensor(0.0))
    >>> pull(wg.tensor(2.0))
    (tensor(2.),)
    """
    leaves, structure = tree.flatten(primals)
    g = _Flat("vjp", f, structure, has_aux)
    outs, pull = flat.vjp_flat(g, _tensors("vjp", leaves))
    assert g.out is not None
    out_structure, out_shapes = g.out, [o.aval.shape for o in outs]

    def vjp_fn(*cotangents: Any) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        parts, s = tree.flatten(given)
        if s != out_structure and len(parts) != len(outs):
            raise ArgumentError(message("vjp", "cotangents must be nested like the output", f"{s} for {out_structure}"))
        gs = _shaped_like("vjp", "cotangent is not shaped like its output", _tensors("vjp", parts), out_shapes)
        return tree.unflatten(structure, pull(*gs))

    out = tree.unflatten(out_structure, outs)
    return (out, vjp_fn, g.aux) if has_aux else (out, vjp_fn)


def jvp(f: F, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """Outputs and their tangents.

    Args:
        primals: a tuple of arguments.
        tangents: nested like them.

    >>> import wengert as wg
    >>> wg.func.jvp(lambda x: x * x, (wg.tensor(3.0),), (wg.tensor(1.0),))
    (tensor(9.), tensor(6.))
    """
    leaves, structure = tree.flatten(tuple(primals))
    moving, s = tree.flatten(tuple(tangents))
    if s != structure:
        raise ArgumentError(message("jvp", "tangents must be nested like the arguments", f"{s} for {structure}"))
    xs = _tensors("jvp", leaves)
    shapes = [x.aval.shape for x in xs]
    ts = _shaped_like("jvp", "tangent is not shaped like its argument", _tensors("jvp", moving), shapes)
    g = _Flat("jvp", f, structure, has_aux)
    outs, found = flat.jvp_flat(g, xs, ts)
    assert g.out is not None
    result = tree.unflatten(g.out, outs), tree.unflatten(g.out, found)
    return (*result, g.aux) if has_aux else result


def linearize(f: F, *primals: Any) -> Any:
    """Outputs, and the linear function that maps tangents of the arguments to tangents of the outputs.

    ``f`` runs once; every call of the linear function is one forward sweep over what it recorded.
    """
    leaves, structure = tree.flatten(primals)
    g = _Flat("linearize", f, structure, False)
    xs = _tensors("linearize", leaves)
    outs, push = flat.linearize_flat(g, xs)
    assert g.out is not None
    out_structure, shapes = g.out, [x.aval.shape for x in xs]

    def jvp_fn(*tangents: Any) -> Any:
        parts, s = tree.flatten(tangents)
        if s != structure:
            raise ArgumentError(message("linearize", "tangents must be nested like the arguments", str(s)))
        ts = _tensors("linearize", parts)
        ts = _shaped_like("linearize", "tangent is not shaped like its argument", ts, shapes)
        return tree.unflatten(out_structure, push(*ts))

    return tree.unflatten(out_structure, outs), jvp_fn


def _split_args(name: str, args: tuple[Any, ...], argnums: ArgNums) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    out: list[int] = []
    for a in numbers:
        if not -len(args) <= a < len(args):
            raise ArgumentError(message(name, f"argnums {a} is out of range", f"{len(args)} positional arguments"))
        out.append(a % len(args))
    return tuple(out)


def value_and_grad(f: F, argnums: ArgNums = 0, has_aux: bool = False) -> F:
    """The function that returns the value of a scalar function and its gradient.

    Returns:
        A function giving ``(value, gradient)``, with ``has_aux`` ``((value, aux), gradient)``.
        The gradient is nested like the argument (a tuple of such for several ``argnums``).
    """

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        numbers = _split_args("grad", args, argnums)
        chosen = tuple(args[i] for i in numbers)

        def partial(*parts: Any) -> Any:
            full = list(args)
            for i, p in zip(numbers, parts, strict=True):
                full[i] = p
            return f(*full, **kwargs)

        leaves, structure = tree.flatten(chosen)
        xs = _tensors("grad", leaves)
        g = _Flat("grad", partial, structure, has_aux)
        outs, pull = flat.vjp_flat(g, xs)
        if len(outs) != 1 or outs[0].aval.shape not in ((), (1,)):
            seen = ", ".join(str(o.aval) for o in outs)
            raise GraphError(message("grad", "the function must return a scalar", seen, "Use jacobian, or reduce it"))
        from .functional.creation import ones_like

        with enable_grad():
            found = tree.unflatten(structure, pull(ones_like(outs[0])))
        grads = found[0] if isinstance(argnums, int) else found
        assert g.out is not None
        value = tree.unflatten(g.out, outs)
        return ((value, g.aux), grads) if has_aux else (value, grads)

    return run


def grad(f: F, argnums: ArgNums = 0, has_aux: bool = False) -> F:
    """The function that returns the gradient of a scalar function; ``(gradient, aux)`` with ``has_aux``.

    >>> import wengert as wg
    >>> wg.func.grad(wg.func.grad(lambda x: x ** 3))(wg.tensor(2.0))
    tensor(12.)
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return run


def grad_and_value(f: F, argnums: ArgNums = 0, has_aux: bool = False) -> F:
    """`value_and_grad` in PyTorch's order: ``(gradient, value)`` or ``(gradient, (value, aux))``."""
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return grads, value

    return run


def hvp(f: F, primals: Any, tangents: Any) -> Any:
    """Hessian of a scalar function times a vector: forward over reverse, a few times the cost of ``f``.

    Args:
        primals: a tuple of arguments (or a single tensor).
        tangents: nested like them.

    Returns:
        ``(value of the gradient's function f, product)`` as PyTorch's ``autograd.functional.hvp``:
        the value of ``f`` and the product, nested like the arguments.
    """
    single = isinstance(primals, Handle)
    args = (primals,) if single else tuple(primals)
    moving = (tangents,) if single else tuple(tangents)

    def gradient(*xs: Any) -> Any:
        value, g = value_and_grad(f, tuple(range(len(xs))))(*xs)
        return g, value

    _, product, value = jvp(gradient, args, moving, has_aux=True)
    return value, product[0] if single else product


def _axes(in_dims: Any, args: Sequence[Any]) -> list[Any]:
    """The mapped axis of every leaf of the arguments."""
    if isinstance(in_dims, list):
        in_dims = tuple(in_dims)
    if isinstance(in_dims, int) or in_dims is None:
        in_dims = (in_dims,) * len(args)
    if len(in_dims) != len(args):
        raise ArgumentError(
            message("vmap", "in_dims must have one entry an argument", f"{len(in_dims)} for {len(args)} arguments")
        )
    out: list[Any] = []
    for d, a in zip(in_dims, args, strict=True):
        leaves, structure = tree.flatten(a)
        if d is None or isinstance(d, int):
            out += [d if isinstance(x, Handle) else None for x in leaves]
            continue
        inner, s = tree.flatten(tree.map(lambda v: -(10**9) if v is None else v, _none_to_mark(d)))
        if s != structure:
            raise ArgumentError(message("vmap", "in_dims must be nested like the argument", f"{s} for {structure}"))
        out += [None if v == -(10**9) else v for v in inner]
    return out


def _none_to_mark(d: Any) -> Any:
    if d is None:
        return -(10**9)
    if isinstance(d, dict):
        return {k: _none_to_mark(v) for k, v in d.items()}
    if isinstance(d, (list, tuple)):
        return type(d)([_none_to_mark(v) for v in d])
    return d


def vmap(f: F, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None) -> F:
    """The function mapped over an axis of its arguments, without a loop.

    Args:
        in_dims: the axis of each argument (nested like the arguments where they differ); None: not mapped.
        out_dims: where the axis stands in each output.
        randomness: what draws inside do: ``"error"``, ``"same"`` for all, or ``"different"``.
        chunk_size: how many elements to map at once; all by default.

    >>> import wengert as wg
    >>> wg.func.vmap(wg.dot)(wg.ones(3, 2), wg.ones(3, 2))
    tensor([2., 2., 2.])
    """
    if randomness not in ("error", "same", "different"):
        raise ArgumentError(message("vmap", "randomness must be 'error', 'same' or 'different'", repr(randomness)))

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten(args)
        axes = _axes(in_dims, args)
        where = [i for i, x in enumerate(leaves) if isinstance(x, Handle)]
        g: list[Any] = [None]

        def flat_f(*xs: Any) -> list[Any]:
            full = list(leaves)
            for i, x in zip(where, xs, strict=True):
                full[i] = x
            parts, g[0] = tree.flatten(f(*tree.unflatten(structure, full), **kwargs))
            return _result("vmap", parts)

        xs, dims = [leaves[i] for i in where], [axes[i] for i in where]
        outs = flat.vmap_chunked(flat_f, xs, dims, randomness, chunk_size)
        places = _out_dims(out_dims, len(outs))
        moved = [o if d == 0 else o.movedim(0, d) for o, d in zip(outs, places, strict=True)]
        return tree.unflatten(g[0], moved)

    return run


def _out_dims(out_dims: Any, n: int) -> list[int]:
    if isinstance(out_dims, int):
        return [out_dims] * n
    dims = tree.leaves(out_dims)
    if len(dims) != n:
        raise ArgumentError(message("vmap", "out_dims must have one entry an output", f"{len(dims)} for {n}"))
    return dims


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = (), kwargs: Any = None, **options: Any
) -> Any:
    """Call a module with other tensors in the place of its parameters: `wengert.nn.stateless.functional_call`."""
    from .nn.stateless import functional_call as call

    return call(module, parameter_and_buffer_dicts, args, kwargs, **options)


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers of models alike, stacked for `vmap`: `wengert.nn.stateless.stack_module_state`."""
    from .nn.stateless import stack_module_state as stack

    return stack(models)


__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "jvp", "linearize",
    "stack_module_state", "value_and_grad", "vjp", "vmap",
]  # fmt: skip
