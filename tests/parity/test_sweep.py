"""Every function of the API table beside torch: torch's own sample and error inputs, and generated tensors."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import wengert as wg
import wengert.nn.functional

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parent
SAMPLES = 40  # of one op and dtype


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


opinfo, differences = load("opinfo"), load("differences")


def rows() -> Iterator[tuple[str, list[str]]]:
    """Functions of the table, each with its names with variants."""
    for line in (FOLDER.parent / "api_names.txt").read_text().splitlines():
        if line and line[0] in "AB":
            head, _, variants = line.partition(": ")
            name = head.split()[1]
            yield name, [f"{name}.{v}" for v in variants.split()] or [name]


FUNCTIONS = sorted({name for name, _ in rows()})
NAMES = sorted({n for name, variants in rows() for n in (name, *variants)} & opinfo.table().keys())


def known(table: list[tuple[str, str]], message: str) -> bool:
    return any(re.search(pattern, message) for pattern, _ in table)


def test_torchs_table_has_every_name() -> None:
    assert len(NAMES) >= 537


# -- torch's sample inputs ---------------------------------------------------------------------------

DTYPES = [torch.float64, torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.complex128]


def found_in(name: str) -> list[str]:
    """What differs in the samples of an op."""
    info = opinfo.table()[name]
    mine = opinfo.ours(info)
    theirs = opinfo.in_library(torch, info.op) if opinfo.is_lambda(info) else info.op
    found = []
    for dtype in [d for d in DTYPES if d in info.dtypes]:
        for sample in opinfo.samples(info, dtype, SAMPLES):
            args = (sample.input, *sample.args)
            loose = opinfo.is_random(info, args, sample.kwargs)
            message = opinfo.compare_call(theirs, mine, args, sample.kwargs, loose)
            if message:
                found.append(f"{dtype}: {message}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_samples(name: str) -> None:
    table = differences.OPS.get(name, [])
    found = found_in(name)
    new = [message for message in found if not known(table, message)]
    assert not new, "\n".join(new[:5])


@pytest.mark.parametrize("name", differences.OPS)
def test_known_differences_are_still_there(name: str) -> None:
    assert found_in(name), "agrees now: take it out of differences.py"


# -- torch's error inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if opinfo.table()[n].error_inputs_func is not None])
def test_errors(name: str) -> None:
    info = opinfo.table()[name]
    mine = opinfo.ours(info)
    wrong = []
    for case in info.error_inputs("cpu"):
        sample = case.sample_input
        try:
            args, kwargs = opinfo.convert((sample.input, *sample.args)), opinfo.convert(sample.kwargs)
        except (ValueError, TypeError, RuntimeError):  # tensors that NumPy cannot hold: 65 dimensions, no memory
            continue
        refused, error = opinfo.attempt(info.op, sample.input, *sample.args, **sample.kwargs)
        if refused == "ok":
            continue
        kind, result = opinfo.attempt(mine, *args, **kwargs)
        if kind == "ok" and not known(differences.REFUSED, str(error)):
            wrong.append(f"works, torch raises {str(error)[:200]}")
        if kind == "error" and not isinstance(result, (wg.errors.WengertError, TypeError)):
            wrong.append(f"{type(result).__name__}, torch raises {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)


# -- generated inputs --------------------------------------------------------------------------------

SHAPES = [(), (0,), (3,), (2, 3), (2, 3, 4)]
KINDS = [torch.float64, torch.float32, torch.int64, torch.bool, torch.bfloat16]
RANDOM = re.compile(r"empty|rand|dropout|uniform|normal|bernoulli|multinomial|exponential|cauchy|geometric")
# Tensors alone make no sensible call, or decompositions are unique up to signs only; samples cover them.
LEFT_OUT = {
    "__getitem__", "add", "addbmm", "addmm", "addmv", "addr", "amax", "amin", "baddbmm", "fft.fftshift",
    "fft.ifftshift", "item", "linalg.pinv", "linalg.svd", "logsumexp", "nansum", "rsub", "split", "sub", "sum",
    "svd", "take_along_dim", "to", "tril", "triu",
}  # fmt: skip
CASTS = {"bfloat16", "bool", "byte", "char", "double", "float", "half", "int", "long", "short"}


def make(shape: tuple[int, ...], dtype: Any, seed: int, strided: bool) -> Any:
    """Numbers from -1 to 2; integers from -3 to 6."""
    generator = torch.Generator().manual_seed(seed)
    stored = (*shape[:-1], shape[-1] * 2) if strided and shape else shape
    t = torch.rand(stored, generator=generator, dtype=torch.float64) * 3 - 1
    if dtype == torch.bool:
        t = t > 0.5
    t = (t * 3).round().to(dtype) if dtype == torch.int64 else t.to(dtype)
    t = t[..., ::2] if strided and shape else t
    return t.requires_grad_() if dtype == torch.float64 else t


def functions(name: str) -> tuple[Any, Any] | None:
    """The function, else the method, of both libraries."""
    found = []
    for library in (torch, wg):
        f: Any = library
        for part in name.split("."):
            f = getattr(f, part, None)
        if f is None or name in CASTS:
            f = getattr(library.Tensor, name, None)
        found.append(f)
    return (found[0], found[1]) if all(callable(f) for f in found) else None


@pytest.mark.parametrize("arity", [1, 2])
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in LEFT_OUT and not RANDOM.search(n)])
def test_generated(name: str, arity: int) -> None:
    pair = functions(name)
    if pair is None or (arity == 1 and name.startswith("__")):
        return
    wrong = []
    for dtype in KINDS:
        for shape in SHAPES:
            for strided in (False, True):
                for other in [shape, (), (3,)][: 3 if arity == 2 else 1]:
                    args = [make(shape, dtype, 1, strided), make(other, dtype, 2, False)][:arity]
                    message = opinfo.compare_call(*pair, args, {})
                    table = differences.GENERATED.get(name, [])
                    if message and message.startswith("works, torch raises"):
                        table = [*table, *differences.REFUSED]
                    if message and not known(table, message):
                        wrong.append(f"{dtype} {shape} {other if arity == 2 else ''} {strided}: {message}")
    assert not wrong, "\n".join(wrong[:5])
