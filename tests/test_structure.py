"""The shape of the source: who may import whom, how large files are, what `import wengert` loads."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wengert

# A file imports only from its own line and the lines above it (a name stands for a module, or for a
# package with all that it holds). There are no cycles. Imports inside functions and under TYPE_CHECKING
# are free: they run later, or never.
LAYERS = """
    errors
    dtypes
    config
    devices  tree  pages  turns
    random
    graph
    ops
    functional
    transform
    tensor
    custom  legacy  numeric  serialization  tracing
    compare
    api
    backends  cuda
    func
    autograd_functional
    autograd  fft  linalg  signal  special
    optimize
    schedule  codegen
    runtime
    variables
    signature
    guards
    capturing
    stepping
    differentiable
    checking
    compiler  planning
    nn
    optim
    utils  data
    train
    models
    view
    diagnose
    interop
    distributed
    testing
    cli  demo  __main__
    __init__
"""

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
LAYER_OF = {name: i for i, line in enumerate(LAYERS.strip().splitlines()) for name in line.split()}


def module_name(path: Path) -> str:
    """``src/wengert/graph/node.py`` is ``wengert.graph.node``; a package's own file is the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def layer_name(module: str) -> str:
    """The name by which the table knows a module."""
    return module.partition(".")[2].partition(".")[0] or "__init__"


def statements_run_on_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements, also nested ones, that run when the module is imported."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from statements_run_on_import(statement.orelse)
            continue
        yield statement
        for block in ("body", "orelse", "finalbody"):
            yield from statements_run_on_import(getattr(statement, block, []))
        for handler in getattr(statement, "handlers", []):
            yield from statements_run_on_import(handler.body)


def imported_modules(statement: ast.stmt, module: str) -> Iterator[str]:
    """The project's modules that an import statement in ``module`` names."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names if alias.name.partition(".")[0] == "wengert")
    elif isinstance(statement, ast.ImportFrom):
        base = statement.module or ""
        if statement.level:
            is_package = MODULES[module].name == "__init__.py"
            parents = module.split(".")[: -(statement.level - is_package) or None]
            base = ".".join([*parents, *([base] if base else [])])
        if base.partition(".")[0] == "wengert":
            for alias in statement.names:
                submodule = f"{base}.{alias.name}"
                yield submodule if submodule in MODULES else base


@functools.cache
def imports(module: str) -> list[tuple[int, str]]:
    """Line and target of each import of the project's own modules."""
    return [
        (statement.lineno, target)
        for statement in statements_run_on_import(ast.parse(MODULES[module].read_bytes()).body)
        for target in imported_modules(statement, module)
    ]


@pytest.mark.slow
def test_imports_only_from_layers_above() -> None:
    homeless = {layer_name(module) for module in MODULES} - LAYER_OF.keys()
    assert not homeless, f"no place in LAYERS: {homeless}"
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for module, path in MODULES.items()
        for line, target in imports(module)
        if LAYER_OF[layer_name(target)] > LAYER_OF[layer_name(module)]
    ]
    assert not wrong, "an import from a layer below:\n" + "\n".join(wrong)


def test_imports_have_no_cycles() -> None:
    graph = {module: {target for _, target in imports(module)} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows the cycle


@pytest.mark.slow
def test_files_and_functions_are_not_too_long() -> None:
    report = subprocess.run([sys.executable, ROOT / "tools" / "size.py"], capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stdout + report.stderr


def test_import_is_light() -> None:
    heavy = {"llvmlite", "matplotlib", "scipy", "sklearn", "torch"}
    program = f"import sys, wengert; print(*sorted({heavy!r} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert not loaded.split(), "`import wengert` loads it; import it inside the function that uses it"


def test_version_is_the_distributions() -> None:
    assert wengert.__version__ == importlib.metadata.version("wengert")
