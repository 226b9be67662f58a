"""LLVM's passes and its code generator: text in, object code out.

Imports nothing of the package: run as a program, it serves a process that compiles with others' help (see `crew`).
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
from typing import Any

# Generated code has its vectors, its loops and its addresses already as they should be. What is left is to inline
# what asks for it (alwaysinline), to turn stack slots into registers, to unroll where a loop asks for it, and to
# tidy up; LLVM's code generator hoists out of loops and shares common parts by itself. On softmax and matrix
# product kernels this gives the speed of LLVM's -O2 at a tenth of its time.
_PASSES = (
    "always_inliner",
    "sroa",
    "simplify_cfg",
    "loop_unroll",
    "sroa",
    "instruction_combine",
    "simplify_cfg",
    "global_dead_code_eliminate",
)
IDLE_SECONDS = 20  # without work for so long, a helper ends


@functools.cache
def machine(triple: str, cpu: str, features: str) -> Any:
    """LLVM's target machine. Cached: making one costs a millisecond."""
    import llvmlite.binding as llvm

    if triple == llvm.get_process_triple():
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small", jit=True
    )


def parsed(ir_text: str, triple: str, cpu: str, features: str) -> Any:
    """The module, for this processor. Raises RuntimeError if the text is malformed."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(ir_text)
    module.triple = triple
    module.data_layout = str(machine(triple, cpu, features).target_data)
    module.verify()
    return module


def optimise(module: Any, target_machine: Any) -> None:
    """Run the passes over a module."""
    import llvmlite.binding as llvm

    passes = llvm.create_new_module_pass_manager()
    for name in _PASSES:
        getattr(passes, f"add_{name}_pass")()
    passes.run(module, llvm.create_pass_builder(target_machine, llvm.create_pipeline_tuning_options()))


def _answer(to: Any, content: Any) -> None:
    pickle.dump(content, to)
    to.flush()


def serve() -> None:
    """Answer requests (IR, triple, CPU, features) with object code, or None for what LLVM rejects.

    The first answer, True, says that it is ready. It ends with the other process, or when that has nothing to ask for
    a while.
    """
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not get between answers
    answer = functools.partial(_answer, answers)
    answer(True)
    while True:
        idle = threading.Timer(IDLE_SECONDS, os._exit, (0,))
        idle.daemon = True
        idle.start()
        try:
            ir_text, *target = pickle.load(source)
        except EOFError:
            return
        finally:
            idle.cancel()
        try:
            module = parsed(ir_text, *target)
            optimise(module, machine(*target))
            code = machine(*target).emit_object(module)
        except RuntimeError:
            code = None
        answer(code)


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:]
    import llvmlite.binding  # noqa: F401 - before there is work, rather than when the first comes

    serve()
