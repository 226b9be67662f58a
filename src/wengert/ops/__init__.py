"""The ops, one family a file. Importing the package fills `wengert.ops.base.OPS`."""

from . import (
    arithmetic,
    call,
    compare,
    contract,
    control,
    conv,
    custom,
    fft,
    gates,
    gather,
    index,
    integer,
    join,
    linalg,
    linalg_decompositions,
    linalg_solve,
    movement,
    pass_through,
    pool,
    random,
    reduce,
    scan,
    sort,
    special,
    special_gamma,
    unary,
)

__all__ = [
    "arithmetic", "call", "compare", "contract", "control", "conv", "custom", "fft", "gates", "gather", "index",
    "integer", "join", "linalg", "linalg_decompositions", "linalg_solve", "movement", "pass_through",
    "pool", "random", "reduce", "scan", "sort", "special", "special_gamma", "unary",
]  # fmt: skip
