"""Which inputs each element of a value can depend on: the sparsity of a Jacobian, from the graph alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Pattern:
    """Pairs (row, column), sorted and unique: element ``row`` of a value may depend on input ``column``.

    ``keys`` holds row * columns + column for each pair.
    """

    __slots__ = ("columns", "keys", "rows")

    def __init__(self, keys: Any, rows: int, columns: int) -> None:
        self.keys, self.rows, self.columns = keys, rows, columns

    @staticmethod
    def empty(rows: int, columns: int) -> Pattern:
        """No dependence: a constant."""
        return Pattern(np.zeros(0, np.int64), rows, columns)

    @staticmethod
    def diagonal(start: int, rows: int, columns: int) -> Pattern:
        """Row i depends on column start + i: an input."""
        row = np.arange(rows, dtype=np.int64)
        return Pattern(row * columns + start + row, rows, columns)

    @staticmethod
    def union(patterns: Sequence[Pattern]) -> Pattern:
        """Elementwise: a row depends on whatever it depends on in one of the patterns."""
        first = patterns[0]
        keys = [p.keys for p in patterns if p.keys.size]
        if len(keys) > 1:
            return Pattern(np.unique(np.concatenate(keys)), first.rows, first.columns)
        return Pattern(keys[0] if keys else first.keys, first.rows, first.columns)

    def pairs(self) -> tuple[Any, Any]:
        """Rows and columns of the pairs."""
        columns = max(self.columns, 1)
        return self.keys // columns, self.keys % columns

    @property
    def count(self) -> int:
        """Number of pairs."""
        return int(self.keys.size)

    def gather(self, source: Any) -> Pattern:
        """Row i of the result is row ``source[i]``; a negative source means a constant."""
        source = np.asarray(source, np.int64).reshape(-1)
        row, column = self.pairs()
        starts = np.searchsorted(row, np.arange(self.rows + 1))
        lengths = np.where(source >= 0, starts[source + 1] - starts[source], 0) if self.rows else np.zeros_like(source)
        new_row = np.repeat(np.arange(source.size), lengths)
        inside = np.arange(new_row.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        begin = np.repeat(np.where(source >= 0, starts[source], 0), lengths) if self.rows else new_row
        return Pattern(new_row * self.columns + column[begin + inside], source.size, self.columns)

    def group(self, target: Any, rows: int) -> Pattern:
        """Row ``target[i]`` of the result depends on what row i depends on."""
        row, column = self.pairs()
        target = np.asarray(target, np.int64).reshape(-1)
        return Pattern(np.unique(target[row] * self.columns + column), rows, self.columns)

    def spread(self, rows: int) -> Pattern:
        """Every row of the result depends on what any row depends on."""
        columns = np.unique(self.pairs()[1])
        keys = (np.arange(rows, dtype=np.int64)[:, None] * self.columns + columns).reshape(-1)
        return Pattern(keys, rows, self.columns)


def dense(patterns: Sequence[Pattern], rows: int) -> Pattern:
    """The pattern of an op that nothing is known about."""
    return Pattern.union([p.spread(rows) for p in patterns])


def index_map(move: Any, shape: tuple[int, ...]) -> Any:
    """Where each element of a movement's result comes from: run it on element numbers; -1 where it pads."""
    size = int(np.prod(shape, dtype=np.int64))
    return np.asarray(move(np.arange(1, size + 1, dtype=np.int64).reshape(shape))).reshape(-1) - 1


def reduced_index(shape: tuple[int, ...], axes: Sequence[int]) -> Any:
    """For each element of a value, the number of the element it is reduced into."""
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    numbers = np.arange(int(np.prod(kept, dtype=np.int64))).reshape(kept)
    return np.broadcast_to(numbers, shape).reshape(-1)


def color(pattern: Pattern, by_columns: bool) -> Any:
    """A colour for each column (row): two of one colour never share a row (column). Greedy, largest first.

    Source: Gebremedhin, Manne and Pothen, "What color is your Jacobian?", SIAM Review 47, 2005.
    """
    row, column = pattern.pairs()
    line, cross = (column, row) if by_columns else (row, column)
    n_lines = pattern.columns if by_columns else pattern.rows
    n_cross = pattern.rows if by_columns else pattern.columns
    order = np.lexsort((cross, line))
    line, cross = line[order], cross[order]
    starts = np.searchsorted(line, np.arange(n_lines + 1))
    degrees = np.diff(starts)
    taken: list[set[int]] = [set() for _ in range(n_cross)]  # colours met at each crossing line
    colors = np.zeros(n_lines, np.int64)
    for k in np.argsort(-degrees, kind="stable"):
        met = cross[starts[k] : starts[k + 1]]
        used = set().union(*[taken[c] for c in met]) if met.size else set()
        c = 0
        while c in used:
            c += 1
        colors[k] = c
        for m in met:
            taken[m].add(c)
    return colors
