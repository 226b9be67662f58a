"""Metrics: sums over batches of any size, from which the value over all samples follows exactly.

A mean of the batches' values would be wrong where the last batch is smaller, and for F1 or R² always.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor

Array = Any


class Metric:
    """Base of all metrics. A subclass keeps its sums in ``self.sums``, a dictionary of numbers and arrays.

    Args:
        name: under which the value stands in histories and logs; the class's name in lower case by default.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        self.sums: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__} does not define reset")

    def update(self, output: Any, target: Any) -> None:
        """Take a batch in: what the model gave, and what was right."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def compute(self) -> Any:
        """The value over all batches since `reset`: a number, or an array. NaN where there was nothing."""
        raise NotImplementedError(f"{type(self).__name__} does not define compute")

    def state_dict(self) -> dict[str, Any]:
        """The sums, to go on from in the middle of an epoch."""
        return {key: np.array(value) if isinstance(value, np.ndarray) else value for key, value in self.sums.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        if state_dict.keys() != self.sums.keys():
            seen = f"{sorted(state_dict)} instead of {sorted(self.sums)}"
            raise ArgumentError(message(type(self).__name__, "a state of another metric", seen))
        self.sums = dict(state_dict)


def array(x: Any) -> Array:
    """A tensor or anything like it as an array; short floats become float32, which NumPy computes with."""
    if isinstance(x, Tensor):
        x = (x.detach() if x.requires_grad else x).numpy()
    out = np.asarray(x)
    return out.astype(np.float32) if out.dtype.itemsize == 2 and out.dtype.kind not in "iu" else out


def ratio(part: Any, whole: Any) -> float:
    """``part / whole`` as a float; NaN for nothing out of nothing."""
    return float(part) / float(whole) if whole else math.nan


def _logits(name: str, output: Any, target: Any) -> tuple[Array, Array]:
    """Logits as (M, C), and the M classes."""
    output, target = array(output), array(target)
    if output.ndim != target.ndim + 1 or output.shape[:1] + output.shape[2:] != target.shape:
        seen = f"{output.shape} and {target.shape}"
        raise ShapeError(message(name, "needs outputs (N, C, ...) and targets (N, ...)", seen))
    return np.moveaxis(output, 1, -1).reshape(-1, output.shape[1]), target.reshape(-1)


def _decided(name: str, output: Any, target: Any, threshold: float) -> tuple[Array, Array]:
    """Predicted and true classes, flat."""
    output, target = array(output), array(target)
    if output.ndim == target.ndim + 1 and output.shape[1] == 1:
        output = output[:, 0]
    if output.shape == target.shape:
        return (output > threshold).astype(np.int64).reshape(-1), target.astype(np.int64).reshape(-1)
    scores, classes = _logits(name, output, target)
    return scores.argmax(1), classes


class Accuracy(Metric):
    """Share of samples whose class is right.

    Args:
        threshold: of the outputs of a two-class model; 0 for logits, 0.5 for probabilities.
        ignore_index: targets with this value do not count.
        name: see `Metric`.

    Shape:
        Outputs (N, C, ...) with targets (N, ...) of classes; or both of one shape (outputs may be (N, 1, ...)),
        where outputs above the threshold mean class 1.

    >>> import wengert as wg
    >>> accuracy = wg.train.Accuracy()
    >>> accuracy.update(wg.tensor([[2.0, 1.0], [0.0, 1.0]]), wg.tensor([0, 0]))
    >>> accuracy.update(wg.tensor([[2.0, 1.0]]), wg.tensor([0]))
    >>> round(accuracy.compute(), 4)
    0.6667
    """

    def __init__(self, threshold: float = 0.0, ignore_index: int | None = None, name: str | None = None) -> None:
        self.threshold, self.ignore_index = threshold, ignore_index
        super().__init__(name)

    def reset(self) -> None:
        self.sums = {"right": 0, "count": 0}

    def update(self, output: Any, target: Any) -> None:
        guess, truth = _decided("Accuracy", output, target, self.threshold)
        counted = truth != self.ignore_index if self.ignore_index is not None else np.ones(truth.shape, bool)
        self.sums["right"] += int(((guess == truth) & counted).sum())
        self.sums["count"] += int(counted.sum())

    def compute(self) -> float:
        return ratio(self.sums["right"], self.sums["count"])


class TopKAccuracy(Metric):
    """Share of samples whose class is among the k largest outputs; of equal outputs the lower class is first.

    >>> import wengert as wg
    >>> top = wg.train.TopKAccuracy(2)
    >>> top.update(wg.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), wg.tensor([1, 2]))
    >>> top.name, top.compute()
    ('top2_accuracy', 0.5)
    """

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        if k < 1:
            raise ArgumentError(message("TopKAccuracy", "k must be at least 1", str(k)))
        self.k = k
        super().__init__(name or f"top{k}_accuracy")

    def reset(self) -> None:
        self.sums = {"right": 0, "count": 0}

    def update(self, output: Any, target: Any) -> None:
        scores, classes = _logits("TopKAccuracy", output, target)
        own = np.take_along_axis(scores, classes[:, None].astype(np.int64), 1)
        before = np.arange(scores.shape[1]) < classes[:, None]
        rank = ((scores > own) | ((scores == own) & before)).sum(1)
        self.sums["right"] += int(((rank < self.k) & ~np.isnan(own[:, 0])).sum())
        self.sums["count"] += len(classes)

    def compute(self) -> float:
        return ratio(self.sums["right"], self.sums["count"])


class ConfusionMatrix(Metric):
    """How many samples of each class (row) were taken for each class (column).

    Args:
        num_classes: the number of rows and columns.
        threshold: see `Accuracy`, as are the shapes.
        name: see `Metric`.

    >>> import wengert as wg
    >>> matrix = wg.train.ConfusionMatrix(2)
    >>> matrix.update(wg.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), wg.tensor([0, 0, 1]))
    >>> matrix.compute()
    array([[1, 1],
           [0, 1]])
    """

    def __init__(self, num_classes: int, threshold: float = 0.0, name: str | None = None) -> None:
        if num_classes < 2:
            raise ArgumentError(message(type(self).__name__, "num_classes must be at least 2", str(num_classes)))
        self.num_classes, self.threshold = num_classes, threshold
        super().__init__(name)

    def reset(self) -> None:
        self.sums = {"matrix": np.zeros((self.num_classes, self.num_classes), np.int64)}

    def update(self, output: Any, target: Any) -> None:
        guess, truth = _decided(type(self).__name__, output, target, self.threshold)
        n = self.num_classes
        for what, classes in (("targets", truth), ("outputs", guess)):
            if classes.size and not 0 <= classes.min() <= classes.max() < n:
                seen = f"{classes.min()} to {classes.max()}"
                raise ArgumentError(message(type(self).__name__, f"{what} are not classes below {n}", seen))
        self.sums["matrix"] += np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)

    def compute(self) -> Any:
        return self.sums["matrix"].copy()


class _FromMatrix(ConfusionMatrix):
    """What follows from right guesses, guesses and samples of each class.

    ``average``: "macro" (mean of the classes), "weighted" (by their samples), "micro" (all samples together),
    "binary" (class 1 alone), or None for the value of each class. Zero by zero gives 0, as in scikit-learn.
    """

    def __init__(
        self, num_classes: int, average: str | None = "macro", threshold: float = 0.0, name: str | None = None
    ) -> None:
        if average not in ("macro", "weighted", "micro", "binary", None):
            cure = "One of 'macro', 'weighted', 'micro', 'binary', None"
            raise ArgumentError(message(type(self).__name__, "unknown average", repr(average), cure))
        if average == "binary" and num_classes != 2:
            raise ArgumentError(message(type(self).__name__, "average='binary' needs two classes", str(num_classes)))
        self.average = average
        super().__init__(num_classes, threshold, name)

    def _share(self, right: Array, guessed: Array, true: Array) -> Array:
        raise NotImplementedError

    def compute(self) -> Any:
        matrix = self.sums["matrix"].astype(np.float64)
        right, guessed, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        if not matrix.sum():
            return math.nan
        if self.average == "micro":
            return float(self._share(right.sum(), guessed.sum(), true.sum()))
        each = self._share(right, guessed, true)
        if self.average is None:
            return each
        if self.average == "binary":
            return float(each[1])
        present = (guessed + true) > 0  # a class that nowhere occurs has no value to average
        return float(np.average(each, weights=present if self.average == "macro" else true))


def _fraction(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


class Precision(_FromMatrix):
    """Share of the guesses of a class that are right; arguments as in `F1`.

    >>> import wengert as wg
    >>> precision = wg.train.Precision(2, average="binary")
    >>> precision.update(wg.tensor([1.0, 2.0, -1.0]), wg.tensor([1, 0, 1]))
    >>> precision.compute()
    0.5
    """

    def _share(self, right: Array, guessed: Array, true: Array) -> Array:
        return _fraction(right, guessed)


class Recall(_FromMatrix):
    """Share of the samples of a class that are found; arguments as in `F1`.

    >>> import wengert as wg
    >>> recall = wg.train.Recall(2, average=None)
    >>> recall.update(wg.tensor([1.0, 2.0, -1.0]), wg.tensor([1, 0, 1]))
    >>> recall.compute()
    array([0. , 0.5])
    """

    def _share(self, right: Array, guessed: Array, true: Array) -> Array:
        return _fraction(right, true)


class F1(_FromMatrix):
    """Harmonic mean of precision and recall.

    Args:
        num_classes: 2 for a two-class model with one output.
        average: "macro" (mean of the classes that occur), "weighted" (by their samples), "micro" (all samples
            together), "binary" (class 1 alone), or None for an array with the value of each class. Where
            nothing was guessed or nothing was to be found the value is 0, as in scikit-learn.
        threshold: see `Accuracy`, as are the shapes.
        name: see `Metric`.

    >>> import wengert as wg
    >>> f1 = wg.train.F1(2, average="binary")
    >>> f1.update(wg.tensor([1.0, 2.0, -1.0, 3.0]), wg.tensor([1, 0, 1, 1]))
    >>> round(f1.compute(), 4)
    0.6667
    """

    def _share(self, right: Array, guessed: Array, true: Array) -> Array:
        return _fraction(2 * right, guessed + true)


# --- regression and language models ------------------------------------------------------------------


class _OfErrors(Metric):
    """A mean over all elements of something of ``output - target``, in float64."""

    def reset(self) -> None:
        self.sums = {"total": 0.0, "count": 0}

    def update(self, output: Any, target: Any) -> None:
        output, target = _alike(type(self).__name__, output, target)
        self.sums["total"] += float(self._of(output - target).sum())
        self.sums["count"] += output.size

    def _of(self, error: Array) -> Array:
        raise NotImplementedError

    def compute(self) -> float:
        return ratio(self.sums["total"], self.sums["count"])


def _alike(name: str, output: Any, target: Any) -> tuple[Array, Array]:
    output, target = array(output).astype(np.float64), array(target).astype(np.float64)
    if output.shape != target.shape:
        seen, cure = f"{output.shape} and {target.shape}", "Reshape one of them; nothing is broadcast here"
        raise ShapeError(message(name, "outputs and targets differ in shape", seen, cure))
    return output, target


class MeanAbsoluteError(_OfErrors):
    """Mean of ``|output - target|`` over all elements.

    >>> import wengert as wg
    >>> mae = wg.train.MeanAbsoluteError()
    >>> mae.update(wg.tensor([1.0, 2.0]), wg.tensor([1.0, 5.0]))
    >>> mae.compute()
    1.5
    """

    def _of(self, error: Array) -> Array:
        return np.abs(error)


class MeanSquaredError(_OfErrors):
    """Mean of ``(output - target)²`` over all elements.

    >>> import wengert as wg
    >>> mse = wg.train.MeanSquaredError()
    >>> mse.update(wg.tensor([1.0, 2.0]), wg.tensor([1.0, 5.0]))
    >>> mse.compute()
    4.5
    """

    def _of(self, error: Array) -> Array:
        return error * error


class R2(Metric):
    """Coefficient of determination: ``1 - Σ(output - target)² / Σ(target - mean)²``, the mean over the columns.

    A column whose targets are all equal counts 1 where the outputs equal them, else 0, as in scikit-learn. The sums
    of the targets are joined by Chan, Golub & LeVeque's formula (1979), so a large mean costs no digits.

    Shape:
        Outputs and targets both (N) or (N, D).

    >>> import wengert as wg
    >>> r2 = wg.train.R2()
    >>> r2.update(wg.tensor([1.0, 2.0, 2.0]), wg.tensor([1.0, 2.0, 3.0]))
    >>> r2.compute()
    0.5
    """

    def reset(self) -> None:
        self.sums = {"count": 0, "mean": np.zeros(1), "spread": np.zeros(1), "errors": np.zeros(1)}

    def update(self, output: Any, target: Any) -> None:
        output, target = _alike("R2", output, target)
        if not len(target):
            return
        output, target = (x.reshape(len(x), -1) for x in (output, target))
        n, m = self.sums["count"], len(target)
        mean = target.mean(0)
        shift = mean - self.sums["mean"] if n else np.zeros_like(mean)
        self.sums["spread"] = self.sums["spread"] + ((target - mean) ** 2).sum(0) + shift**2 * (n * m / (n + m))
        self.sums["mean"] = mean - shift * (n / (n + m)) if n else mean
        self.sums["errors"] = self.sums["errors"] + ((output - target) ** 2).sum(0)
        self.sums["count"] = n + m

    def compute(self) -> float:
        if self.sums["count"] < 2:
            return math.nan
        errors, spread = self.sums["errors"], self.sums["spread"]
        constant = np.where(errors > 0, 1.0, 0.0)
        return float(np.mean(1 - np.divide(errors, spread, out=constant, where=spread > 0)))


class Perplexity(Metric):
    """``exp`` of the mean of ``-log p(target)`` over all tokens.

    Args:
        ignore_index: targets with this value (padding) do not count.
        name: see `Metric`.

    Shape:
        Logits (N, C, ...) and targets (N, ...), as for `cross_entropy`.

    >>> import wengert as wg
    >>> perplexity = wg.train.Perplexity()
    >>> perplexity.update(wg.zeros(2, 8), wg.tensor([3, -100]))
    >>> round(perplexity.compute(), 4)
    8.0
    """

    def __init__(self, ignore_index: int = -100, name: str | None = None) -> None:
        self.ignore_index = ignore_index
        super().__init__(name)

    def reset(self) -> None:
        self.sums = {"total": 0.0, "count": 0}

    def update(self, output: Any, target: Any) -> None:
        scores, classes = _logits("Perplexity", output, target)
        counted = classes != self.ignore_index
        scores, classes = scores[counted].astype(np.float64), classes[counted].astype(np.int64)
        if not len(classes):
            return
        top = scores.max(1)
        own = np.take_along_axis(scores, classes[:, None], 1)[:, 0]
        self.sums["total"] += float((np.log(np.exp(scores - top[:, None]).sum(1)) + top - own).sum())
        self.sums["count"] += len(classes)

    def compute(self) -> float:
        mean = ratio(self.sums["total"], self.sums["count"])
        return math.exp(mean) if mean < 709 else math.nan if math.isnan(mean) else math.inf


__all__ = [
    "F1", "R2", "Accuracy", "ConfusionMatrix", "MeanAbsoluteError", "MeanSquaredError", "Metric", "Perplexity",
    "Precision", "Recall", "TopKAccuracy",
]  # fmt: skip
