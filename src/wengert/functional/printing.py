"""How a tensor prints: PyTorch's form, four digits, long tensors in short."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt

PRECISION, THRESHOLD, EDGE, LINE = 4, 1000, 3, 80


def set_printoptions(
    precision: int | None = None, threshold: int | None = None, edgeitems: int | None = None,
    linewidth: int | None = None,
) -> None:  # fmt: skip
    """Set how tensors print.

    Args:
        precision: digits behind the point (4).
        threshold: number of elements above which a tensor is printed in short (1000).
        edgeitems: elements shown at each end of a shortened dimension (3).
        linewidth: characters a line (80).
    """
    global PRECISION, THRESHOLD, EDGE, LINE
    PRECISION = PRECISION if precision is None else precision
    THRESHOLD = THRESHOLD if threshold is None else threshold
    EDGE = EDGE if edgeitems is None else edgeitems
    LINE = LINE if linewidth is None else linewidth


class _Format:
    """One format for all elements of a tensor: fixed, scientific, or integers with a point."""

    def __init__(self, values: Any) -> None:
        self.floating = values.dtype.kind == "f"
        self.scientific = self.whole = False
        self.width = 1
        if not self.floating:
            self.width = max((len(self.plain(v)) for v in values.tolist()), default=1)
            return
        finite = np.abs(values[np.isfinite(values) & (values != 0)].astype(np.float64))
        if finite.size:
            high, low = float(finite.max()), float(finite.min())
            self.whole = bool(np.all(finite == np.ceil(finite)))
            self.scientific = high / low > 1000.0 or high > 1e8 or (not self.whole and low < 1e-4)
        else:
            self.whole = True
        counted = values[np.isfinite(values) & (values != 0)].astype(np.float64).tolist()
        self.width = max((len(self(v)) for v in counted), default=1)

    @staticmethod
    def plain(v: Any) -> str:
        return str(v)

    def __call__(self, v: Any) -> str:
        if not self.floating:
            return self.plain(v).rjust(self.width)
        if not math.isfinite(v):
            text = "nan" if math.isnan(v) else "inf" if v > 0 else "-inf"
        elif self.scientific:
            text = f"{v:.{PRECISION}e}"
        elif self.whole:
            text = f"{v:.0f}."
        else:
            text = f"{v:.{PRECISION}f}"
        return text.rjust(self.width)


class _ComplexFormat:
    """Real and imaginary parts, each in a format of its own."""

    def __init__(self, values: Any) -> None:
        self.real, self.imag = _Format(values.real), _Format(np.abs(values.imag))
        self.width = self.real.width + self.imag.width + 2

    def __call__(self, v: Any) -> str:
        sign = "-" if math.copysign(1.0, v.imag) < 0 else "+"
        return f"{self.real(v.real)}{sign}{self.imag(abs(v.imag)).lstrip()}j".rjust(self.width)


def _shortened(value: Any) -> Any:
    """Only the elements that will be shown."""
    for axis, n in enumerate(value.shape):
        if n > 2 * EDGE:
            keep = [*range(EDGE), *range(n - EDGE, n)]
            value = np.take(value, keep, axis)
    return value


def _lines(value: Any, form: Any, indent: int, short: bool, full_shape: tuple[int, ...]) -> str:
    if value.ndim == 0:
        return form(value.item())
    n = full_shape[0]
    cut = short and n > 2 * EDGE
    if value.ndim == 1:
        parts = [form(v) for v in (value.astype(np.float64) if form_is_float(form) else value).tolist()]
        if cut:
            parts = [*parts[:EDGE], " ...", *parts[EDGE:]]
        per_line = max(1, (LINE - indent) // (form.width + 2))
        rows = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(rows) + "]"
    parts = [_lines(v, form, indent + 1, short, full_shape[1:]) for v in value]
    if cut:
        parts = [*parts[:EDGE], "...", *parts[EDGE:]]
    return "[" + ("," + "\n" * (value.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def form_is_float(form: Any) -> bool:
    """Whether a format prints real floating numbers."""
    return isinstance(form, _Format) and form.floating


def contents(value: Any, indent: int) -> str:
    """The elements, nested in brackets."""
    value = np.asarray(value)
    if value.size == 0:
        return "[]"
    short = value.size > THRESHOLD
    shown = _shortened(value) if short else value
    form: Any = _ComplexFormat(shown.reshape(-1)) if value.dtype.kind == "c" else _format_of(shown)
    return _lines(shown, form, indent, short, value.shape)


def _format_of(shown: Any) -> _Format:
    flat = shown.reshape(-1)
    return _Format(flat.astype(np.float32) if flat.dtype in dt.HALF_NP else flat)


def tensor_repr(x: Any) -> str:
    """``tensor([1., 2.], dtype=wengert.float64, requires_grad=True)``."""
    if x._value is None:
        return f"<symbolic tensor {x.aval}>"
    value = np.asarray(x._value)
    if value.dtype in dt.HALF_NP:
        text = contents(value.astype(np.float32), 7)
    else:
        text = contents(value, 7)
    tail: list[str] = []
    if value.size == 0 and value.ndim != 1:
        tail.append(f"size={tuple(value.shape)}")
    d = dt.of(value.dtype)
    default = dt.get_default_dtype()
    if d not in (default, dt.int64, dt.bool_, default.to_complex()) or (value.size == 0 and d is dt.int64):
        tail.append(f"dtype={d}")
    if x.requires_grad:
        node = x._node
        tail.append("requires_grad=True" if node.op is None else f"grad_fn=<{_producer(node)}>")
    out = f"tensor({text}"
    length = len(out) - out.rfind("\n")
    for suffix in tail:
        if length + len(suffix) + 2 > LINE:
            out, length = f"{out},\n       {suffix}", 7 + len(suffix)
        else:
            out, length = f"{out}, {suffix}", length + len(suffix) + 2
    return out + ")"


def _producer(node: Any) -> str:
    """The op behind a node; one result of several is named after the op that gave it."""
    return node.inputs[0].name if node.inputs and node.name == "item" else node.name
