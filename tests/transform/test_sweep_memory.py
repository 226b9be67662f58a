"""Sweeps let go of values and tangents behind their last reader."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

import wengert as wg
from wengert import func
from wengert.graph.aval import Aval
from wengert.graph.graph import last_reads
from wengert.graph.trace import trace
from wengert.runtime import results

N = 1 << 14  # elements, too few for memory that is kept
STEPS = 40


def chain(x):
    for _ in range(STEPS):
        x = (x * 1.01).sin()
    return x


def peak(f, *args):
    f(*args)
    gc.collect()
    results.release()
    tracemalloc.start()
    try:
        out = f(*args)
        return out, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_vmap_keeps_what_is_read_again():
    x = wg.randn(N // 8, 8, dtype=wg.float64)
    out, most = peak(func.vmap(chain), x)
    assert most < 8 * x.numpy().nbytes  # of 80 values
    assert wg.allclose(out, chain(x))


def test_vmap_of_a_jacobian_keeps_no_intermediate_results():
    x = wg.randn(N // 8, 8, dtype=wg.float64)
    out, most = peak(func.vmap(func.jacrev(lambda r: chain(r).sum())), x)
    assert most < (STEPS + 24) * x.numpy().nbytes  # the values that the reverse sweep reads; there are 160
    assert wg.allclose(out, func.grad(lambda y: chain(y).sum())(x))


def test_forward_mode_keeps_one_tangent_of_a_chain():
    x = wg.randn(N, dtype=wg.float64)
    tangent = wg.ones(N, dtype=wg.float64)
    primal = peak(lambda y: func.vjp(chain, y)[0], x)[1]  # all values are there
    out, most = peak(lambda y: func.jvp(chain, (y,), (tangent,))[1], x)
    assert most < primal + 12 * x.numpy().nbytes
    assert wg.allclose(out, func.grad(lambda y: chain(y).sum())(x))


def test_last_reads_leave_inputs_and_outputs():
    aval = Aval((3,), wg.float64.np)

    def f(x, y):
        a = x * y
        b = a.exp()
        c = a + b
        return b, c.sum(), x * c

    graph = trace(f, [aval, aval])
    dead = [seq for seqs in last_reads(graph) for seq in seqs]
    assert len(dead) == len(set(dead))
    assert not set(dead) & {n.seq for n in (*graph.inputs, *graph.outputs)}
    read = {x.seq for n in graph.nodes for x in n.inputs}
    assert set(dead) == read - {n.seq for n in (*graph.inputs, *graph.outputs)}


@pytest.mark.parametrize("mode", ["same", "different"])
def test_draws_inside_of_vmap_go_on(mode):
    wg.manual_seed(0)
    x = wg.zeros(4, 3)
    found = func.vmap(lambda r: r + wg.rand(3) + wg.rand(3), randomness=mode)(x)
    rows_agree = bool((found[0] == found[1]).all())
    assert rows_agree == (mode == "same")
