"""The ops, one family a file. Importing the package fills `wengert.ops.base.OPS`."""

from . import (
    arithmetic,
    compare,
    contract,
    control,
    conv,
    fft,
    index,
    integer,
    join,
    linalg,
    movement,
    pool,
    random,
    reduce,
    scan,
    sort,
    special,
    unary,
)

__all__ = [
    "arithmetic", "compare", "contract", "control", "conv", "fft", "index", "integer", "join", "linalg", "movement",
    "pool", "random", "reduce", "scan", "sort", "special", "unary",
]  # fmt: skip
