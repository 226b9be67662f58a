"""Which memory a value is seen in follows which values have memory, however that comes about."""

from __future__ import annotations

import wengert as wg
from wengert.graph.trace import trace
from wengert.schedule.roots import Roots


def test_views_follow_what_has_memory():
    graph = trace(lambda x: x.exp().reshape(4, 6).permute(1, 0).reshape(2, 12) + 1.0, [wg.zeros(2, 12).aval])
    nodes = {n.op.name: n for n in graph.nodes if n.op is not None}
    exp, permute = nodes["exp"], nodes["permute"]
    first = permute.inputs[0]
    last = next(n for n in graph.nodes if n.op is not None and n.op.name == "reshape" and n.inputs[0] is permute)
    roots = Roots(graph)
    for n in (exp, first, permute, last):
        roots.kept.discard(n.seq)
    assert roots.view(permute) is roots.view(last) is None  # `exp` has no memory
    roots.kept.add(exp.seq)
    assert roots.view(permute).root is exp and roots.view(permute).strides == (1, 6)
    assert roots.view(last) is None  # a row of it lies nowhere in steps
    for taken, given in ((exp, first), (first, permute), (permute, exp), (exp, permute)):
        roots.kept.discard(taken.seq)  # as many as before
        roots.kept.add(given.seq)
        assert roots.view(permute).root is given
        seen = roots.view(last)
        assert (seen is not None and seen.root is permute) == (given is permute)
