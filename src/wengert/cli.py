"""The ``wengert`` command."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from typing import Any

from . import tree
from .graph.handle import Handle


def _load(target: str) -> Any:
    """The object that ``package.module:function`` names."""
    module, _, name = target.partition(":")
    if not name:
        raise SystemExit(f"wengert: {target!r} is not of the form package.module:function")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"wengert: cannot load {target!r}: {error}") from error
    return found


def _arguments(f: Any, shapes: Sequence[str]) -> list[Any]:
    """Random float64 arguments: of the shapes given, else what ``f.example()`` or its defaults say."""
    from .dtypes import float64
    from .functional.random import manual_seed, randn

    manual_seed(0)
    if shapes:
        return [randn([int(n) for n in s.split(",") if n], dtype=float64) for s in shapes]
    if hasattr(f, "example"):
        example = f.example()
        return list(example) if isinstance(example, tuple) else [example]
    params = inspect.signature(f).parameters.values()
    values = [p.default for p in params if p.default is not inspect.Parameter.empty]
    if not any(isinstance(x, Handle) for x in tree.leaves(values)):
        raise SystemExit("wengert: say the shapes of the arguments: wengert verify module:f --shape 3,4 --shape 4")
    return values


def verify(args: argparse.Namespace) -> int:
    """Check the derivatives of a function; 0 if all are right."""
    from .testing import CheckError
    from .testing import verify as check

    f = _load(args.target)
    try:
        check(f, *_arguments(f, args.shape))
    except CheckError as error:
        print(f"FAILED {args.target}\n{error}")
        return 1
    print(f"ok {args.target}: forward = reverse = numeric, second order in four compositions, vmap = loop")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    from . import __version__

    parser = argparse.ArgumentParser(prog="wengert", description="Computational graphs, differentiated and checked.")
    parser.add_argument("--version", action="version", version=f"wengert {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="check every derivative of a function")
    check.add_argument("target", help="package.module:function")
    check.add_argument(
        "--shape", action="append", default=[], metavar="N,M", help="shape of an argument, in order (a scalar is '')"
    )
    check.set_defaults(run=verify)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    raise SystemExit(main())
