"""Control flow given what it cannot take: errors name what was seen and where, and nothing is changed."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert.errors import AnomalyError, ArgumentError, DTypeError, GraphError, IndexRangeError, ShapeError, TraceError


def whole(t):
    return t


def below(i):
    return i < 3


def pair(c, x):
    return c, x


YES = wg.tensor(True)
ERRORS = {
    "pred of two": (lambda t: wg.cond(t > 0, whole, whole, (t,)), ShapeError, r"one element: b1\[2\]"),
    "pred float": (lambda t: wg.cond(t.sum(), whole, whole, (t,)), DTypeError, r"must be a bool: f64\[\]"),
    "pred int": (lambda t: wg.cond(1, whole, whole, (t,)), DTypeError, "a bool or a tensor: int"),
    "branch shapes": (
        lambda t: wg.cond(YES, whole, lambda t: t[:1], (t,)),
        ShapeError,
        r"output 0 differs in shape: f64\[2\] in branch 0 \(whole\), f64\[1\] in branch 1",
    ),
    "branch dtypes": (
        lambda t: wg.cond(YES, lambda t: (t, t), lambda t: (t, t.float()), (t,)),
        DTypeError,
        r"output 1 differs in dtype: f64\[2\] in branch 0 .*, f32\[2\] in branch 1",
    ),
    "branch containers": (
        lambda t: wg.cond(YES, whole, lambda t: (t,), (t,)), ArgumentError, "different containers"
    ),
    "operands twice": (lambda t: wg.cond(YES, whole, whole, t, operands=(t,)), ArgumentError, "twice"),
    "no tensor": (lambda t: wg.cond(YES, lambda t: "a", whole, (t,)), DTypeError, "must be tensors.*: str"),
    "index float": (lambda t: wg.switch(t.sum(), [whole], (t,)), DTypeError, "must be an integer"),
    "index of two": (lambda t: wg.switch(wg.tensor([1, 2]), [whole], (t,)), ShapeError, "one element"),
    "no branch": (lambda t: wg.switch(0, [], (t,)), ArgumentError, "at least one branch"),
    "while shape": (
        lambda t: wg.while_loop(lambda t: t.sum() < 9, lambda t: wg.cat([t, t]), (t,)),
        ShapeError,
        r"carry 0 differs in shape: f64\[2\] before it, f64\[4\] after the step",
    ),
    "while dtype": (
        lambda t: wg.while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t.float()), (0, t)),
        DTypeError,
        r"carry 1 differs in dtype: f64\[2\] before it, f32\[2\] after the step",
    ),
    "while number": (lambda t: wg.while_loop(below, lambda i: i + 0.5, (0,)), DTypeError, "carry 0"),
    "condition of two": (lambda t: wg.while_loop(below, whole, (t,)), ShapeError, "must be one bool"),
    "condition float": (lambda t: wg.while_loop(wg.sum, whole, (t,)), DTypeError, "must be one bool"),
    "while containers": (
        lambda t: wg.while_loop(lambda t: t.sum() < 1, lambda t: (t, t), (t,)),
        ArgumentError,
        "other containers",
    ),
    "no carry": (lambda t: wg.while_loop(lambda: True, lambda: (), ()), ArgumentError, "at least one carry"),
    "no length": (lambda t: wg.scan(pair, t, None), ArgumentError, "needs xs or length"),
    "first sizes": (lambda t: wg.scan(pair, t, (t, wg.ones(3))), ShapeError, "the first sizes of xs differ"),
    "no first axis": (lambda t: wg.scan(pair, t, t.sum()), ShapeError, "a first axis to run over"),
    "length": (lambda t: wg.scan(pair, t, t, 5), ArgumentError, "length 5, xs of 2"),
    "negative length": (lambda t: wg.scan(pair, t, None, -1), ArgumentError, "length does not fit"),
    "no pair": (lambda t: wg.scan(lambda c, x: c, t, t), ArgumentError, r"must return \(carry, y\)"),
    "scan shape": (lambda t: wg.scan(lambda c, x: (c.sum(), x), t, t), ShapeError, "carry 0 differs"),
    "scan containers": (lambda t: wg.scan(lambda c, x: ((c, c), x), t, t), ArgumentError, "another carry"),
    "checkpoint": (lambda t: wg.scan(pair, t, t, checkpoint=-2), ArgumentError, "must be positive"),
    "bound float": (lambda t: wg.fori_loop(t.sum(), 3, pair, t), DTypeError, "must be an integer"),
    "bound of two": (
        lambda t: wg.fori_loop(0, wg.tensor([1, 2]), pair, t), ShapeError, "upper bound.*one element"
    ),
    "dim": (lambda t: wg.associative_scan(lambda a, b: a + b, t, dim=3), IndexRangeError, "dim 3"),
    "combination": (lambda t: wg.associative_scan(lambda a, b: a.sum(), t), ShapeError, "value 0 differs"),
    "value": (
        lambda t: wg.scan(lambda c, x: (c * float(c.sum()), x), t, t), TraceError, "not known while tracing"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_is_wrong(name):
    call, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        call(wg.tensor(np.ones(2)))


def test_the_message_names_the_line():
    with pytest.raises(ShapeError, match=r"\(test_control_errors.py:\d+\)"):
        wg.scan(lambda c, x: (c.sum(), x), wg.ones(2), wg.ones(2))


def test_a_symbol_kept_by_a_body_is_refused():
    kept = []

    def body(c, x):
        kept.append(c)
        return c + x, None

    wg.scan(body, wg.tensor(0.0), wg.ones(2))
    with pytest.raises(TraceError, match="finished trace"):
        wg.scan(lambda c, x: (c + kept[0], None), wg.tensor(0.0), wg.ones(2))


# -- tensors changed in place ----------------------------------------------------------------------


def test_a_body_may_not_change_a_tensor_from_outside():
    buffer = wg.zeros(2)
    view = buffer[:1]
    history = wg.ones(2, requires_grad=True) * 2
    for target in (buffer, view, history):
        before = target.tolist()

        def body(c, x, target=target):
            target.add_(x[: len(target)])
            return c + x, None

        with pytest.raises(GraphError, match="changes a tensor from outside in place"):
            wg.scan(body, wg.zeros(2), wg.ones(3, 2))
        assert target.tolist() == before
        assert view.tolist() == [0.0]


def test_a_body_that_fails_changes_nothing():
    buffer = wg.zeros(2)

    def body(c):
        buffer.mul_(c)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        wg.while_loop(lambda c: c.sum() < 3, body, (wg.ones(2),))
    assert buffer.tolist() == [0.0, 0.0]


def test_a_body_may_write_to_its_own_tensors():
    def body(c, x):
        out = wg.zeros(2)
        out[0] = x[1]
        out[1] = c[0]
        view = out[:1]
        view *= 2
        return out, out * 1

    x = wg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    last, ys = wg.scan(body, wg.zeros(2), x)
    assert last.tolist() == [8.0, 4.0]
    assert ys.tolist() == [[4.0, 0.0], [8.0, 4.0]]
    last.sum().backward()
    assert x.grad.tolist() == [[0.0, 2.0], [0.0, 2.0]]


# -- anomalies -------------------------------------------------------------------------------------

LINE = r"log: made the first NaN.*stands at test_control_errors.py:\d+"


@pytest.mark.parametrize("requires_grad", [False, True])
def test_detect_anomaly_names_the_op_inside_a_body(requires_grad):
    x = wg.tensor([3.0, 0.5], requires_grad=requires_grad)

    def nested(c, _):
        return wg.while_loop(lambda c: c.sum() > 0, lambda c: (c.log(),), (c,))[0], None

    for run in (
        lambda: wg.scan(lambda c, _: (c.log(), None), x, length=3),
        lambda: wg.cond(x.sum() > 0, lambda x: (x - 1).log(), lambda x: x, (x,)),
        lambda: wg.scan(nested, x, length=3),
    ):
        with wg.autograd.detect_anomaly(), pytest.raises(AnomalyError, match=LINE):
            run()
