"""Addresses that go on from anchors: what every turn of a loop would add to a pointer is added once, before the loop.

LLVM would find the same by its strength reduction, which takes half of the time of its code generator on nested loops.
So an anchor is a pointer that it takes as it stands: what is left within the loop is a step and constants, which are
addressing modes of the processor.
"""

from __future__ import annotations

from .loop import I64, Value

_MEMORY = frozenset({"load", "store", "stream", "prefetch", "offset", "anchor"})  # operands: pointer, index, ...
_INTEGER = frozenset({"add", "sub", "mul", "min", "max", "shl"})
_BRANCHES = ("if", "check")
_LOOPS = ("loop", "while")


def anchor(body: list[Value]) -> None:
    """Simplify the addresses in all loops of a body, innermost first; the body itself is changed."""
    out: list[Value] = []
    for v in body:
        if v.op in _BRANCHES or v.op in _LOOPS:
            for inner in v.attr.bodies:
                anchor(inner)
        if v.op in _LOOPS:
            out += _Loop(v).before
        out.append(v)
    body[:] = out


class _Loop:
    """One loop whose inner ones are done; ``before``: what is computed before it from now on."""

    def __init__(self, loop: Value) -> None:
        self.inside: set[Value] = set() if loop.attr.index is None else {loop.attr.index}
        for body in loop.attr.bodies:
            self._collect(body)
        self.before: list[Value] = []
        self.anchors: dict[tuple[int, ...], Value] = {}
        for body in loop.attr.bodies:
            self._take(body)
            self._rewrite(body)

    def _collect(self, body: list[Value]) -> None:
        for v in body:
            self.inside.add(v)
            if v.op in _BRANCHES or v.op in _LOOPS:
                if v.attr.index is not None:
                    self.inside.add(v.attr.index)
                for inner in v.attr.bodies:
                    self._collect(inner)

    def _take(self, body: list[Value]) -> None:
        """Integers and anchors that do not change go before the loop."""
        left: list[Value] = []
        for v in body:
            if (v.op == "anchor" or (v.op in _INTEGER and v.type == I64)) and not any(x in self.inside for x in v.args):
                self.before.append(v)
                self.inside.discard(v)
            else:
                left.append(v)
        body[:] = left

    def _rewrite(self, body: list[Value]) -> None:
        out: list[Value] = []
        known: dict[tuple[int, ...], Value] = {}
        for v in body:
            if v.op in _BRANCHES:
                for inner in v.attr.bodies:
                    self._rewrite(inner)
            elif v.op in _MEMORY and v.args[0] not in self.inside and v.args[1].type.lanes == 1:
                self._address(v, out, known)
            out.append(v)
        body[:] = out

    def _address(self, v: Value, out: list[Value], known: dict[tuple[int, ...], Value]) -> None:
        """Have an access go on from an anchor, if part of its index does not change."""
        p, index = v.args[:2]
        terms: dict[Value, int] = {}
        constant = self._terms(index, 1, terms)
        fixed = {x: n for x, n in terms.items() if x not in self.inside}
        moving = {x: n for x, n in terms.items() if x in self.inside}
        if not fixed or not moving:
            return
        key = (id(p), *_key(fixed))
        base = self.anchors.get(key)
        if base is None:
            whole = _sum(fixed, 0, self.before)
            base = self.anchors[key] = Value(v.b, "anchor", (p, whole), p.type)
            self.before.append(base)
        key = (constant, *_key(moving))
        if key not in known:
            known[key] = _sum(moving, constant, out)
        v.args = (base, known[key], *v.args[2:])

    def _terms(self, x: Value, factor: int, terms: dict[Value, int]) -> int:
        """Take a sum apart as far as it changes within the loop; its constant."""
        if x.constant is not None:
            return factor * x.attr
        if x in self.inside and x.op in ("add", "sub", "mul"):
            a, c = x.args
            if x.op != "mul":
                return self._terms(a, factor, terms) + self._terms(c, -factor if x.op == "sub" else factor, terms)
            if a.constant is not None or c.constant is not None:
                number, y = (a.attr, c) if a.constant is not None else (c.attr, a)
                return self._terms(y, factor * number, terms)
        terms[x] = terms.get(x, 0) + factor
        return 0


def _key(terms: dict[Value, int]) -> tuple[int, ...]:
    return tuple([i for x, n in sorted(terms.items(), key=lambda t: id(t[0])) for i in (id(x), n)])


def _sum(terms: dict[Value, int], constant: int, out: list[Value]) -> Value:
    """A sum of products with constants; its instructions are appended."""
    total: Value | None = None
    for x, n in terms.items():
        if n != 1:
            x = Value(x.b, "mul", (x, x.b.const(n, I64)), I64)
            out.append(x)
        if total is not None:
            x = Value(x.b, "add", (total, x), I64)
            out.append(x)
        total = x
    assert total is not None
    if constant:
        total = Value(total.b, "add", (total, total.b.const(constant, I64)), I64)
        out.append(total)
    return total
