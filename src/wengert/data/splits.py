"""Splitting data: training, validation and test parts, and k folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..utils.data import Subset


def _groups(name: str, total: int, stratify: Any, shuffle: bool, generator: Any) -> list[Any]:
    """Indices, in one group for each class (or one in all), each in the order in which it is dealt out."""
    order = np.asarray(api.randperm(total, generator=generator)) if shuffle else np.arange(total)
    if stratify is None:
        return [order]
    labels = np.asarray(stratify)
    if labels.shape != (total,):
        raise ShapeError(message(name, "stratify needs one label for each sample", f"{labels.shape}, {total} samples"))
    return [order[labels[order] == value] for value in np.unique(labels)]


def train_validation_test_split(
    dataset: Any,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    *,
    stratify: Any = None,
    shuffle: bool = True,
    generator: Any = None,
) -> list[Subset]:
    """Split a data set into parts of the given fractions (two, three or any number of them).

    Args:
        dataset: anything with ``[index]`` and ``len()``.
        fractions: positive numbers that add up to 1.
        stratify: labels (N); each part then has the same share of every label.
        shuffle: deal out at random; else the parts are runs of the data set's order.
        generator: draws the order.

    >>> from wengert.data import train_validation_test_split
    >>> parts = train_validation_test_split(range(20), (0.6, 0.2, 0.2), stratify=[0, 1] * 10)
    >>> [len(part) for part in parts], [sum(i % 2 for i in part) for part in parts]
    ([12, 4, 4], [6, 2, 2])
    """
    name = "train_validation_test_split"
    if not fractions or any(not fraction > 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ArgumentError(message(name, "fractions must be positive and add up to 1", str(tuple(fractions))))
    parts: list[list[Any]] = [[] for _ in fractions]
    for group in _groups(name, len(dataset), stratify, shuffle, generator):
        # Rounded at the ends, so that every sample is in one part.
        ends = np.round(np.cumsum(fractions) * len(group)).astype(int)[:-1]
        for part, piece in zip(parts, np.split(group, ends), strict=True):
            part.append(piece)
    return [Subset(dataset, _joined(part)) for part in parts]


def k_fold(
    dataset: Any, k: int = 5, *, stratify: Any = None, shuffle: bool = True, generator: Any = None
) -> Iterator[tuple[Subset, Subset]]:
    """The pairs (training, validation) of a k-fold cross-validation: every sample is validated once.

    Args:
        dataset: anything with ``[index]`` and ``len()``.
        k: number of folds; at least 2 and at most as many as there are samples.
        stratify: labels (N); each fold then has the same share of every label.
        shuffle: deal out at random; else folds are runs of the data set's order.
        generator: draws the order.

    >>> from wengert.data import k_fold
    >>> [list(validation) for _, validation in k_fold(range(5), 2, shuffle=False)]
    [[0, 1, 2], [3, 4]]
    """
    total = len(dataset)
    if isinstance(k, bool) or not isinstance(k, int) or not 2 <= k <= total:
        raise ArgumentError(message("k_fold", "k must be from 2 to the number of samples", f"k={k}, {total} samples"))
    folds: list[list[Any]] = [[] for _ in range(k)]
    first = 0
    for group in _groups("k_fold", total, stratify, shuffle, generator):
        for number, piece in enumerate(np.array_split(group, k)):
            folds[(first + number) % k].append(piece)
        first += len(group) % k  # so that the longer pieces do not all fall to the first folds
    return _pairs(dataset, [_joined(fold) for fold in folds])


def _pairs(dataset: Any, folds: list[list[int]]) -> Iterator[tuple[Subset, Subset]]:
    for number, fold in enumerate(folds):
        rest = sorted(index for other, indices in enumerate(folds) if other != number for index in indices)
        yield Subset(dataset, rest), Subset(dataset, fold)


def _joined(pieces: list[Any]) -> list[int]:
    return sorted(np.concatenate(pieces).tolist())
