"""From LLVM IR to an object, and from objects to addresses in this process.

Generated code comes with explicit vectors, so LLVM's own vectorisers stay off, and compile time short.
``WENGERT_DUMP=dir`` writes each module as it came, optimised, and as assembly.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..codegen.target import Target, host
from ..errors import WengertError, message
from . import pipeline

# LLVM's context, and llvmlite's with it, are one for the process.
LOCK = threading.RLock()

# What the objects depend on beside IR and target: raised when the pipeline below changes, since the disk
# cache may hold objects of an older one.
PIPELINE = 1

_library_number = itertools.count()


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what a function makes, for each of its arguments, and let threads that ask at once have the same.

    `functools.cache` lets both make it, and forgets one: if it was code, it is unloaded while a thread has its address.
    """
    made: dict[Any, Any] = {}

    @functools.wraps(make)
    def remembered(*args: Any) -> Any:
        if args not in made:
            with LOCK:
                if args not in made:
                    made[args] = make(*args)
        return made[args]

    return remembered


@functools.cache
def versions() -> str:
    """What compiles: the versions of llvmlite and LLVM, and of the pipeline here."""
    import llvmlite
    import llvmlite.binding as llvm

    return f"llvmlite {llvmlite.__version__} LLVM {'.'.join(map(str, llvm.llvm_version_info))} pipeline {PIPELINE}"


def _machine(target: Target) -> Any:
    return pipeline.machine(target.triple, target.cpu, target.features)


def compile_ir(ir_text: str, target: Target, name: str) -> bytes:
    """Object code of a module of LLVM IR, given as text; triple and data layout are set here.

    Functions are inlined if they are marked ``alwaysinline``. ``name`` is for dumps and errors. Raises
    `WengertError` if the IR is malformed. Use `cache.get_object` unless the work must be done anew.
    """
    with LOCK:
        machine = _machine(target)
        try:
            module = pipeline.parsed(ir_text, target.triple, target.cpu, target.features)
            module.name = name
        except RuntimeError as error:
            _dump(name, {"ll": ir_text})
            raise WengertError(message("compile", f"LLVM rejects the module {name!r}", str(error).strip())) from error
        pipeline.optimise(module, machine)
        if os.environ.get("WENGERT_DUMP"):
            _dump(name, {"ll": ir_text, "opt.ll": str(module), "s": machine.emit_assembly(module)})
        return machine.emit_object(module)


def _dump(name: str, texts: dict[str, str]) -> None:
    """Write texts to the directory that ``WENGERT_DUMP`` names."""
    directory = os.environ.get("WENGERT_DUMP")
    if not directory:
        return
    stem = re.sub(r"[^\w.-]+", "_", name) or "module"
    Path(directory).mkdir(parents=True, exist_ok=True)
    for ending, text in texts.items():
        (Path(directory) / f"{stem}.{ending}").write_text(text, encoding="utf-8")


_loaded: weakref.WeakSet[Library] = weakref.WeakSet()


class Library:
    """Objects linked into this process. Its code is unloaded with it: whoever calls an address keeps it.

    A call under way in another thread does not count as a reference.
    """

    def __init__(self, tracker: Any, linker: Any) -> None:
        self._tracker = tracker
        self._linker = linker
        _loaded.add(self)

    def address(self, name: str) -> int:
        """Where an exported function or variable lies.

        Raises `KeyError` if it was not among the exports.
        """
        return self._tracker[name]


@once
def _linker() -> Any:
    """The JIT that all libraries are loaded by."""
    import llvmlite.binding as llvm

    # JITLink keeps all sections of a library within reach of each other, which small code needs;
    # it has no complete implementation for Windows' objects.
    return llvm.create_lljit_compiler(_machine(host()), use_jit_link=sys.platform != "win32")


@atexit.register
def _keep_loaded() -> None:
    """Leave what is loaded to the end of the process: a daemon thread may be running it while Python winds up."""
    for library in list(_loaded):
        library._tracker.detach()
        library._linker.detach()


def load(objects: Iterable[bytes], exports: Sequence[str], imports: Mapping[str, int] | None = None) -> Library:
    """Link objects compiled for this machine, and load them.

    ``exports`` names the symbols whose addresses will be asked for, ``imports`` gives addresses of symbols that
    the objects need and do not define. Symbols of the process (``memcpy``, ``memset``) are found by themselves.
    Raises `WengertError` if a symbol is missing or the objects are not fit for this machine.
    """
    import llvmlite.binding as llvm

    with LOCK:
        builder = llvm.JITLibraryBuilder()
        for code in objects:
            builder.add_object_img(code)
        for name, address in (imports or {}).items():
            builder.import_symbol(name, address)
        for name in exports:
            builder.export_symbol(name)
        linker = _linker()
        try:
            tracker = builder.add_current_process().link(linker, f"wengert.{next(_library_number)}")
        except RuntimeError as error:
            raise WengertError(message("compile", "cannot load the compiled code", str(error).strip())) from error
        return Library(tracker, linker)
