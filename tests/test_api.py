"""Every function of the API table is there, where PyTorch has it, described, and takes PyTorch's arguments."""

from __future__ import annotations

import inspect
import json
import operator
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import wengert as wg
import wengert.nn.functional
import wengert.signal.windows

TESTS = Path(__file__).parent


class Row(NamedTuple):
    """A line of api_names.txt."""

    grade: str
    name: str
    places: tuple[str, ...]
    variants: tuple[str, ...]


def table() -> list[Row]:
    lines = [line for line in (TESTS / "api_names.txt").read_text().splitlines() if line and line[0] in "AB"]
    split = [line.partition(": ") for line in lines]
    return [Row(*head.split()[:2], tuple(head.split()[2:]), tuple(tail.split())) for head, _, tail in split]


ROWS = table()


def find(path: str) -> Any:
    """``nn.functional.relu`` from ``wg``."""
    found: Any = wg
    for part in path.split("."):
        found = getattr(found, part)
    return found


def located(row: Row) -> Iterator[tuple[str, Any]]:
    """Each place with what is there."""
    for place in row.places:
        if place == "wg":
            yield f"wg.{row.name}", find(row.name)
        else:
            name = f"{row.name}_" if place == "in-place" else row.name
            yield f"Tensor.{name}", inspect.getattr_static(wg.Tensor, name)


def test_the_table_is_whole() -> None:
    names = {grade: {row.name for row in ROWS if row.grade == grade} for grade in "AB"}
    assert {grade: len(found) for grade, found in names.items()} == {"A": 345, "B": 140}
    assert all(row.places for row in ROWS)


def faults(row: Row) -> Iterator[str]:
    """What is wrong with a line of the table."""
    try:
        places = list(located(row))
    except AttributeError as error:
        yield f"{row.grade} {row.name} is missing: {error}"
        return
    for where, found in places:
        function = found.fget if isinstance(found, property) else found
        doc = inspect.getdoc(function) or ""
        if not callable(function):
            yield f"{where} cannot be called"
        if isinstance(found, property) != ("property" in row.places):
            yield f"{where} is {'' if isinstance(found, property) else 'not '}a property"
        if len(doc.split()) < 3:
            yield f"{where} is not described: {doc!r}"


# One test for all names: a test for each costs more than what it looks at.
def test_everything_exists_and_is_described() -> None:
    assert [fault for row in ROWS for fault in faults(row)] == []


# -- arguments -------------------------------------------------------------------------------------

SIGNATURES: dict[str, list[list[list[str]]]] = json.loads((TESTS / "api_signatures.json").read_text())

# Arguments of torch's that are not taken.
NOT_TAKEN = {
    "nn.functional.linear": {"out"},  # undocumented; it would slow every layer down
    "to": {"layout", "pin_memory"},  # there is one layout
    "view": {"size"},  # sizes are written one by one, or as one tuple
}

# PyTorch's documented names, where its schema has others.
_SECTIONS = {
    "sections": "indices_or_sections",
    "indices": "indices_or_sections",
    "tensor_indices_or_sections": "indices_or_sections",
}
DOCUMENTED = {
    "cholesky_solve": {"input2": "L"},
    "dsplit": _SECTIONS,
    "hsplit": _SECTIONS,
    "linalg.tensorsolve": {"other": "B"},
    "tensor_split": _SECTIONS,
    "uniform": {"from": "from_"},  # the keyword "from" is accepted too; no parameter can have that name
    "vsplit": _SECTIONS,
}

# Overloads that put different arguments in one place, which is told by their types.
BY_TYPE = {
    "log_softmax", "normal", "randint", "randint_like", "softmax", "std", "std_mean", "var", "var_mean",
}  # fmt: skip


def function_of(name: str) -> Callable[..., Any]:
    """``wg.name``, else the method, else the in-place method."""
    if hasattr(wg, name.partition(".")[0]):
        return find(name)
    return getattr(wg.Tensor, name, None) or getattr(wg.Tensor, f"{name}_")


def parameters(f: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(f).parameters)
    if hasattr(f, "takes_out"):
        found["out"] = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY)
    return found


def untaken(name: str) -> Iterator[str]:
    """What torch's overloads of a function take, and ours does not, or elsewhere."""
    function = function_of(name)
    own = parameters(function)
    anywhere = name in BY_TYPE or any(p.kind is p.VAR_POSITIONAL for p in own.values())
    order = [n for n, p in own.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    for positional, keyword in SIGNATURES[name]:
        wanted = [DOCUMENTED.get(name, {}).get(n, n) for n in (*positional[1:], *keyword)]
        missing = set(wanted) - own.keys() - NOT_TAKEN.get(name, set())
        if missing:
            yield f"{name}({', '.join(own)}) does not take {sorted(missing)}"
        for place, argument in enumerate(wanted[: len(positional) - 1], start=1):
            if argument in order and not anywhere and order.index(argument) != place:
                yield f"{name}: {argument} is not argument {place}"


def test_everything_takes_torchs_arguments() -> None:
    names = sorted(SIGNATURES.keys() - {"T", "mT"})
    assert [fault for name in names for fault in untaken(name)] == []


@pytest.mark.parametrize("name", ["sum", "matmul", "cat", "zeros", "linalg.inv", "fft.fft", "special.i1"])
def test_out_is_written(name: str) -> None:
    x = wg.tensor([[2.0, 1.0], [0.0, 4.0]])
    arguments = {"matmul": (x, x), "cat": ([x, x],), "zeros": (2, 2)}.get(name, (x,))
    wanted = find(name)(*arguments)
    out = wg.ones_like(wanted)
    assert find(name)(*arguments, out=out) is out
    assert wg.equal(out, wanted)


def test_out_of_several_results_is_a_tuple() -> None:
    values, indices = wg.empty(3), wg.empty(3, dtype=wg.int64)
    result = wg.sort(wg.tensor([3.0, 1.0, 2.0]), out=(values, indices))
    assert result.values is values
    assert indices.tolist() == [1, 2, 0]
    with pytest.raises(wg.errors.ArgumentError, match=r"tuple of 2 tensors"):
        wg.sort(values, out=values)


# -- operators -------------------------------------------------------------------------------------

BINARY = {
    "add": ("add", 1.5, 2.0), "sub": ("sub", 1.5, 2.0), "mul": ("mul", 1.5, 2.0), "truediv": ("div", 1.5, 2.0),
    "floordiv": ("floor_divide", 7.0, 2.0), "mod": ("remainder", -7.0, 3.0), "pow": ("pow", 1.5, 2.0),
    "and": ("bitwise_and", 6, 3), "or": ("bitwise_or", 6, 3), "xor": ("bitwise_xor", 6, 3),
    "lshift": ("bitwise_left_shift", 6, 3), "rshift": ("bitwise_right_shift", 6, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_operators(name: str) -> None:
    function, a, b = BINARY[name]
    x, y = wg.tensor([a]), wg.tensor([b])
    apply = getattr(operator, f"__{name}__")
    plain = apply(a, b)
    for result in (apply(x, y), apply(x, b), apply(a, y), getattr(wg, function)(x, y)):
        assert result.tolist() == [plain]
    z = x.clone()
    z = getattr(operator, f"__i{name}__")(z, y)
    assert z.tolist() == [plain]


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons(name: str) -> None:
    compare = getattr(operator, name)
    x = wg.tensor([1.0, 2.0, 3.0])
    wanted = [compare(v, 2.0) for v in x.tolist()]
    assert compare(x, 2.0).tolist() == compare(x, wg.tensor(2.0)).tolist() == wanted


def test_unary_operators_and_protocols() -> None:
    x = wg.tensor([[1.0, -2.0]])
    assert (-x).tolist() == [[-1.0, 2.0]]
    assert abs(x).tolist() == [[1.0, 2.0]]
    assert (+x).tolist() == x.tolist()
    assert (~wg.tensor([True, False])).tolist() == [False, True]
    assert (x @ x.T).item() == 5.0
    assert len(x) == 1
    assert [row.tolist() for row in x] == x.tolist()
    assert -2.0 in x
    assert reversed(wg.tensor([1, 2, 3])).tolist() == [3, 2, 1]
    assert (int(wg.tensor(3.7)), float(wg.tensor(2)), bool(wg.tensor(0)), complex(wg.tensor(2.0))) == (3, 2.0, False, 2)
    assert [10, 20, 30][wg.tensor(1)] == 20
    assert hash(x) == hash(x)


# -- public names ----------------------------------------------------------------------------------


def bare(found: Any) -> bool:
    """Whether something has no docstring."""
    return not (inspect.getdoc(found) or "").strip()


def test_public_names_are_described() -> None:
    kinds = (types.FunctionType, types.BuiltinFunctionType, type, types.ModuleType)
    names = sorted(name for name in vars(wg) if not name.startswith("_"))
    assert len(names) > 400
    assert [name for name in names if isinstance(getattr(wg, name), kinds) and bare(getattr(wg, name))] == []


@pytest.mark.parametrize("module", ["nn.functional", "linalg", "fft", "special", "signal.windows", "autograd", "func"])
def test_functions_of_modules_are_described(module: str) -> None:
    names = find(module).__dict__.get("__all__") or [
        n for n, f in vars(find(module)).items() if isinstance(f, types.FunctionType) and not n.startswith("_")
    ]
    assert [n for n in names if bare(getattr(find(module), n))] == []


def test_methods_are_described() -> None:
    names = [n for n in vars(wg.Tensor) if not n.startswith("_")]
    assert len(names) > 400
    assert [n for n in names if bare(inspect.getattr_static(wg.Tensor, n))] == []
