"""Metrics equal scikit-learn's over all samples, whatever the batches are."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

import wengert as wg
from wengert import train

CUTS = [[0, 37], [0, 1, 2, 30, 37], [0, 20, 20, 37]]  # one batch; unequal ones; one of them empty


def over(metric: Any, output: Any, target: Any, cuts: list[int]) -> Any:
    for a, b in pairwise(cuts):
        metric.update(wg.tensor(output[a:b]), wg.tensor(target[a:b]))
    return metric.compute()


@pytest.fixture
def classes() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 4, 37)
    output = rng.normal(size=(37, 5)).astype(np.float32)  # class 4 is guessed but never right
    output[np.arange(37), target] += 1
    output[:, 1] -= 9  # class 1 is never guessed
    return output, target


@pytest.mark.quick(cuts=CUTS[:1])
@pytest.mark.parametrize("cuts", CUTS)
def test_of_classes(classes: tuple[Any, Any], cuts: list[int]) -> None:
    output, target = classes
    guess = output.argmax(1)
    assert over(train.Accuracy(), output, target, cuts) == pytest.approx(reference.accuracy_score(target, guess))
    for k in (1, 2, 4):
        want = reference.top_k_accuracy_score(target, output, k=k, labels=range(5))
        assert over(train.TopKAccuracy(k), output, target, cuts) == pytest.approx(want)
    matrix = over(train.ConfusionMatrix(5), output, target, cuts)
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(target, guess, labels=range(5)))
    for ours, theirs in (
        (train.Precision, reference.precision_score),
        (train.Recall, reference.recall_score),
        (train.F1, reference.f1_score),
    ):
        for average in ("macro", "weighted", "micro", None):
            want = theirs(target, guess, average=average, zero_division=0)
            np.testing.assert_allclose(over(ours(5, average), output, target, cuts), want, rtol=1e-12)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("column", [False, True])
def test_of_two_classes_by_a_threshold(cuts: list[int], column: bool) -> None:
    rng = np.random.default_rng(1)
    target = rng.integers(0, 2, 37)
    score = rng.normal(size=37).astype(np.float32) + target
    guess = score > 0.25
    output = score[:, None] if column else score
    assert over(train.Accuracy(0.25), output, target, cuts) == pytest.approx((guess == target).mean())
    want = reference.f1_score(target, guess)
    assert over(train.F1(2, "binary", 0.25), output, target, cuts) == pytest.approx(want)


def test_of_classes_at_many_places() -> None:
    rng = np.random.default_rng(2)
    output, target = rng.normal(size=(3, 4, 5, 6)), rng.integers(0, 4, (3, 5, 6))
    target[0] = -100
    metric = train.Accuracy(ignore_index=-100)
    metric.update(wg.tensor(output), wg.tensor(target))
    assert metric.compute() == pytest.approx((output.argmax(1) == target)[1:].mean())
    matrix = train.ConfusionMatrix(4)
    with pytest.raises(ValueError, match="targets are not classes below 4: -100 to 3"):
        matrix.update(output, target)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("shape", [(37,), (37, 3)])
def test_of_regression(cuts: list[int], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    target = rng.normal(size=shape) + 1e6  # a large mean costs R² no digits
    output = target + 0.3 * rng.normal(size=shape)
    for ours, theirs in (
        (train.MeanAbsoluteError(), reference.mean_absolute_error),
        (train.MeanSquaredError(), reference.mean_squared_error),
        (train.R2(), reference.r2_score),
    ):
        assert over(ours, output, target, cuts) == pytest.approx(theirs(target, output), rel=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_r2_of_equal_targets(offset: float) -> None:
    target = np.full((4, 1), 2.0)
    metric = train.R2()
    metric.update(target + offset, target)
    assert metric.compute() == reference.r2_score(target, target + offset)


@pytest.mark.parametrize("cuts", CUTS)
def test_perplexity(classes: tuple[Any, Any], cuts: list[int]) -> None:
    output, target = classes
    target = np.where(np.arange(37) % 5 == 0, -100, target)
    logs = output.astype(np.float64) - np.log(np.exp(output.astype(np.float64)).sum(1, keepdims=True))
    seen = np.flatnonzero(target != -100)
    want = np.exp(-logs[seen, target[seen]].mean())
    assert over(train.Perplexity(), output, target, cuts) == pytest.approx(want)
    large = train.Perplexity()
    large.update(np.array([[0.0, 5000.0]]), np.array([0]))
    assert large.compute() == math.inf


def test_bfloat16_and_nan() -> None:
    metric = train.Accuracy()
    metric.update(wg.tensor([[1.0, 2.0], [3.0, 2.0]], dtype=wg.bfloat16), wg.tensor([1, 1]))
    assert metric.compute() == 0.5
    top = train.TopKAccuracy(1)
    top.update(wg.tensor([[math.nan, math.nan]]), wg.tensor([0]))
    assert top.compute() == 0.0  # NaN is never among the largest
    error = train.MeanSquaredError()
    error.update(wg.tensor([math.nan]), wg.tensor([0.0]))
    assert math.isnan(error.compute())


ALL = [
    train.Accuracy(), train.TopKAccuracy(2), train.ConfusionMatrix(3), train.Precision(3), train.Recall(3),
    train.F1(3), train.Perplexity(), train.MeanAbsoluteError(), train.MeanSquaredError(), train.R2(),
]  # fmt: skip


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
def test_nothing_gives_nan_and_the_state_goes_on(metric: Any) -> None:
    rng = np.random.default_rng(4)
    output = rng.normal(size=(9, 3)).astype(np.float32)
    numbers = isinstance(metric, train.MeanAbsoluteError | train.MeanSquaredError | train.R2)
    target = rng.normal(size=(9, 3)) if numbers else rng.integers(0, 3, 9)
    metric.reset()
    assert np.all(np.isnan(metric.compute())) or metric.name == "confusion_matrix"
    metric.update(output[:5], target[:5])
    kept = metric.state_dict()
    metric.update(output[5:], target[5:])
    want = metric.compute()
    metric.reset()
    metric.load_state_dict(kept)
    metric.update(output[5:], target[5:])
    np.testing.assert_array_equal(metric.compute(), want)
    with pytest.raises(ValueError, match="a state of another metric"):
        metric.load_state_dict({"other": 1})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: train.TopKAccuracy(0), "k must be at least 1: 0"),
        (lambda: train.ConfusionMatrix(1), "num_classes must be at least 2: 1"),
        (lambda: train.F1(3, "mean"), "unknown average: 'mean'"),
        (lambda: train.Recall(3, "binary"), "average='binary' needs two classes: 3"),
        (lambda: train.Accuracy().update(wg.ones(3, 2), wg.ones(4)), r"\(3, 2\) and \(4,\)"),
        (lambda: train.MeanSquaredError().update(wg.ones(3, 1), wg.ones(3)), "nothing is broadcast here"),
    ],
)
def test_errors(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
