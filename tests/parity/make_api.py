"""Write tests/api_signatures.json, what arguments torch's functions take: python tests/parity/make_api.py."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import opinfo

TESTS = Path(__file__).resolve().parents[1]
PREFIXES = {"nn.functional.": "", "linalg.": "linalg_", "special.": "special_", "fft.": "fft_"}
CREATION = {"arange", "empty", "eye", "full", "linspace", "logspace", "ones", "zeros", "randint", "randn", "rand"}


def functions() -> list[str]:
    """The functions of tests/api_names.txt."""
    lines = (TESTS / "api_names.txt").read_text().splitlines()
    return [line.split()[1] for line in lines if line and not line.startswith("#")]


def find(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part, None)
    return root


def of_python(f: Any) -> list[list[list[str]]] | None:
    """Positional and keyword-only arguments of a Python function."""
    if not inspect.isfunction(f):
        return None
    parameters = list(inspect.signature(f).parameters.values())
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return None
    named = [p.name for p in parameters]
    only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return [[[n for n in named if n not in only], only]]


def of_schema(name: str, takes_out: bool) -> list[list[list[str]]]:
    """The same of the overloads on tensors; several ``out`` are one tuple in Python."""
    import torch

    op = name
    for path, prefix in PREFIXES.items():
        if name.startswith(path):
            op = prefix + name.removeprefix(path)
    found = []
    for schema in torch._C._jit_get_schemas_for_operator(f"aten::{op}"):
        arguments = schema.arguments
        types = [str(a.type) for a in arguments]
        scripted = not types or ("Tensor" not in types[0] and name not in CREATION)
        strange = {"a", "b", "reverse", "implicit", "random_samples", "element", "test_element"}
        if strange & {a.name for a in arguments}:
            continue
        if scripted or "out_dtype" in str(schema) or any(a.name in ("names", "dimname") for a in arguments):
            continue
        if any("Dimname" in t for t in types) or ("str" in types[:2] and name != "einsum"):
            continue
        outs = {a.name for a in arguments if a.is_out}
        positional = ["input" if a.name == "self" else a.name for a in arguments if not a.kwarg_only]
        keyword = [a.name for a in arguments if a.kwarg_only and a.name not in outs]
        found.append([positional, keyword + ["out"] * bool(outs and takes_out)])
    return found


def make() -> dict[str, Any]:
    """Every overload once, of the functions whose arguments torch tells."""
    import torch
    import torch.signal.windows

    out: dict[str, Any] = {}
    outs = {info.name for info in opinfo.table().values() if info.supports_out}
    for name in functions():
        f = find(torch, name) or find(torch.Tensor, name)
        if name.startswith("__"):
            continue
        overloads = of_python(f) or of_schema(name, name in outs)
        unique = [o for i, o in enumerate(overloads) if o not in overloads[:i]]
        if unique:
            out[name] = unique
    return out


if __name__ == "__main__":
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(make().items()))
    (TESTS / "api_signatures.json").write_text("{\n" + lines + "\n}\n")
