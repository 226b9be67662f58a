"""Named tuples for functions with several results; they print as PyTorch's ``return_types`` do."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def named(name: str, *fields: str) -> Any:
    """The class of results ``name`` with these fields.

    >>> point = named("point", "x", "y")
    >>> point(1, 2)
    wengert.return_types.point(
    x=1,
    y=2)
    """
    base: Any = namedtuple(name, fields)

    def show(self: Any) -> str:
        parts = ",\n".join(f"{field}={value!r}" for field, value in zip(fields, self))
        return f"wengert.return_types.{name}(\n{parts})"

    return type(name, (base,), {"__slots__": (), "__repr__": show, "__module__": __name__})


aminmax = named("aminmax", "min", "max")
cummax = named("cummax", "values", "indices")
cummin = named("cummin", "values", "indices")
histogram = named("histogram", "hist", "bin_edges")
histogramdd = named("histogramdd", "hist", "bin_edges")
kthvalue = named("kthvalue", "values", "indices")
max = named("max", "values", "indices")
median = named("median", "values", "indices")
min = named("min", "values", "indices")
mode = named("mode", "values", "indices")
nanmedian = named("nanmedian", "values", "indices")
sort = named("sort", "values", "indices")
topk = named("topk", "values", "indices")
