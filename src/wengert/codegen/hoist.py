"""Loop-invariant code motion on loop IR: what does not change in a loop is computed before it."""

from __future__ import annotations

from .loop import BINARY, COMPARE, UNARY, Function, Value

PURE = UNARY | BINARY | COMPARE | {
    "fma", "select", "cast", "bitcast", "splat", "iota", "extract", "insert", "shuffle", "offset", "retype", "anchor",
}  # fmt: skip
_REGIONS = ("loop", "if", "while", "check")


def hoist(block: list[Value]) -> None:
    """Move what does not change in the loops of a block out of them, innermost first; the block itself is changed."""
    out: list[Value] = []
    for v in block:
        if v.op in _REGIONS:
            for body in v.attr.bodies:
                hoist(body)
        if v.op == "loop":
            out += _take_invariants(v)
        out.append(v)
    block[:] = out


def written_parameters(f: Function) -> frozenset[int]:
    """Which parameters of a function point at memory that it writes, or has others write."""
    known = _written.get(f.name)
    if known is None:
        written: set[Value] = set()
        _collect(f.body, set(), written)
        known = _written[f.name] = frozenset([i for i, v in enumerate(f.arguments) if v in written])
    return known


_written: dict[str, frozenset[int]] = {}


def _take_invariants(loop: Value) -> list[Value]:
    """The instructions of a loop's body that do not depend on it, taken out of the body."""
    body: list[Value] = loop.attr.bodies[0]
    inside = {loop.attr.index}
    written: set[Value] = set()
    _collect(body, inside, written)
    taken: list[Value] = []
    left: list[Value] = []
    for v in body:
        if (v.op == "check" or _is_pure(v, written)) and not any(x in inside for x in _read(v)):
            taken.append(v)
            inside.discard(v)
        else:
            left.append(v)
    body[:] = left
    return taken


def _read(v: Value) -> set[Value]:
    """The operands of an instruction, and what its bodies read from outside of them."""
    found = set(v.args)
    if v.op in _REGIONS:
        own: set[Value] = set()
        for body in v.attr.bodies:
            _collect(body, own, set())
            found = found.union(*[_read(x) for x in body])
        found -= own
    return found


def _collect(body: list[Value], inside: set[Value], written: set[Value]) -> None:
    """All instructions of a body, those of inner ones too, and the pointers that it writes to."""
    for v in body:
        inside.add(v)
        if v.op in ("store", "stream", "scatter"):
            written.add(_origin(v.args[0]))
        elif v.op in ("call", "inline", "external"):
            written.update(_origin(x) for x in v.args if x.type is not None and x.type.kind == "ptr")
        elif v.op in _REGIONS:
            if v.op == "loop":
                inside.add(v.attr.index)
            for inner in v.attr.bodies:
                _collect(inner, inside, written)


def _origin(p: Value) -> Value:
    """The parameter, or memory, that a pointer leads back to."""
    while p.op in ("offset", "retype", "anchor"):
        p = p.args[0]
    return p


def _is_pure(v: Value, written: set[Value]) -> bool:
    """Whether an instruction gives the same wherever its operands are the same; loads of what is not written do."""
    if v.op == "load" and len(v.args) == 2:
        return _origin(v.args[0]) not in written and _origin(v.args[0]).op in ("param", "array")
    return v.op in PURE and not (v.op in ("div", "rem") and not v.type.is_float)
