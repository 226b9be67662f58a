"""Programs kept on disk: found again whole, in another process, and never used where they do not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import wengert as wg
from wengert.codegen.target import avx2
from wengert.config import LOADED
from wengert.errors import IndexRangeError
from wengert.graph.graph import Graph
from wengert.ops.base import OPS
from wengert.runtime import blueprint, cache, fingerprint, program, scheduling


@pytest.fixture(autouse=True)
def unedited(monkeypatch):
    """Whoever runs the tests may edit the library meanwhile."""
    monkeypatch.setattr(fingerprint, "LOADED", float("inf"))
    find = fingerprint._source
    find.cache_clear()
    yield
    find.cache_clear()


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """An empty cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("WENGERT_CACHE", "WENGERT_CACHE_BYTES", "WENGERT_DUMP", "WENGERT_CHECK", "WENGERT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache, "_memory", {})
    return tmp_path / "wengert"


@pytest.fixture
def scheduled(monkeypatch) -> list[Graph]:
    """The graphs that were scheduled."""
    graphs: list[Graph] = []
    real = scheduling.Schedule.__init__

    def counted(self, traced, *args, **kwargs):
        graphs.append(traced)
        real(self, traced, *args, **kwargs)

    monkeypatch.setattr(scheduling.Schedule, "__init__", counted)
    return graphs


def programs(kept: Path) -> list[Path]:
    return sorted(kept.glob(f"*{cache.PROGRAM}"))


def mixed(x, index):
    """Kernels, NumPy's steps of one and of several results, a constant, an index that is checked."""
    values, places = wg.sort(x @ x.t(), dim=1)
    table = wg.tensor([[1.0, -2.0], [0.5, float("inf")], [float("nan"), 3.0]])
    return (values * 2).exp().sum(0), places, table[index] * x[:, :1], wg.linalg.inv(x @ x.t() + 10 * wg.eye(3)), table


def arguments():
    return wg.tensor(np.random.default_rng(0).normal(size=(3, 2)).astype("f4")), wg.tensor([2, 0, 1])


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=1e-6)


def test_found_again_and_not_scheduled(kept, scheduled):
    for _ in range(2):
        f = wg.compile(mixed)
        for _ in range(2):
            assert_equal(f(*arguments()), mixed(*arguments()))
    assert len(scheduled) == 2  # the function and its checks, once
    assert len(programs(kept)) == 1
    assert not f.latest.program.native
    with pytest.raises(IndexRangeError, match=r"test_program\.py:\d+"):
        f(arguments()[0], wg.tensor([2, 0, 3]))


def test_what_is_written_is_what_is_read():
    x, index = arguments()
    graph = wg.trace(mixed, x, index)
    made = scheduling.Schedule(graph, looks=True).blueprint()
    content = blueprint.encode(made)
    read = blueprint.decode(content)
    assert blueprint.encode(read) == content
    assert read.outputs == made.outputs and read.names == made.names and read.objects == made.objects
    assert read.looks.checks == made.looks.checks and read.looks.places == made.looks.places
    hosts = [(a, b) for a, b in zip(made.steps, read.steps, strict=True) if isinstance(a, blueprint.Host)]
    assert len(hosts) >= 2 and all(a == b for a, b in hosts)
    for a, b in zip(made.constants, read.constants, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_attributes_of_every_kind_come_back():
    numbers = (True, 1, -0.0, float("inf"), None, "name", np.float32(0.1), np.int64(3), np.dtype("f4"), (), ((2,), ()))
    attrs = {"all": numbers, "bfloat": wg.bfloat16.np, "empty": np.zeros((0, 2)), "nested": {"a": (1,)}}
    host = blueprint.Host("add", attrs, (), (), -1)
    made = blueprint.Blueprint((), (), 0, (), (), (), (host,), 0, 0, False, False, False, None)
    (found,) = blueprint.decode(blueprint.encode(made)).steps
    assert repr(found.attrs["all"]) == repr(numbers)
    assert found.attrs["bfloat"] is wg.bfloat16.np and found.attrs["nested"] == {"a": (1,)}
    assert found.attrs["empty"].shape == (0, 2)
    assert blueprint.encode(made._replace(steps=(host._replace(attrs={"f": len}),))) is None
    assert blueprint.encode(made._replace(constants=(np.zeros(blueprint.LARGEST + 1, np.uint8),))) is None


@pytest.mark.quick(damage=["truncated", "text"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "text", "another's", "no program"])
def test_a_damaged_file_is_made_again(kept, scheduled, damage):
    def f(x):
        return (x * 3).cos().sum()

    wg.compile(f)(wg.ones(7))
    (path,) = programs(kept)
    good = path.read_bytes()
    path.write_bytes(
        {
            "truncated": good[:-7],
            "empty": b"",
            "flipped": good[:-1] + bytes([good[-1] ^ 1]),
            "text": b"not a program\n",
            "another's": next(kept.glob("*.o")).read_bytes(),
            "no program": good,
        }[damage]
    )
    if damage == "no program":  # whole, and nonsense
        cache.write(path.stem, cache.PROGRAM, (9).to_bytes(8, "little") + b'[["a"],[]]')
    assert wg.compile(f)(wg.ones(7)).item() == pytest.approx(7 * np.cos(3))
    assert len(scheduled) == 2 and path.read_bytes() == good


@pytest.mark.slow
def test_another_process_finds_it_and_imports_no_compiler(kept):
    text = """if True:
        import sys
        import wengert as wg
        net = wg.nn.Sequential(wg.nn.Linear(3, 4), wg.nn.Tanh(), wg.nn.Linear(4, 1))
        optimizer = wg.optim.Adam(net.parameters())

        @wg.compile
        def step(x):
            optimizer.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        step(wg.ones(5, 3))
        print(step(wg.ones(5, 3)).item(), *[m for m in sys.modules if m.startswith("wengert.codegen")])
    """
    run = [subprocess.run([sys.executable, "-c", f"import wengert; wengert.manual_seed(0)\n{text}"], check=True,
                          capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": str(kept.parent)}).stdout
           for _ in range(2)]  # fmt: skip
    cold, warm = (line.split() for line in run)
    assert cold[0] == warm[0] and "wengert.codegen.nest" in cold
    assert set(warm[1:]) <= {"wengert.codegen", "wengert.codegen.status", "wengert.codegen.target"}


@pytest.mark.slow
def test_processes_that_start_at_once(kept):
    text = "import wengert as wg; print(wg.compile(lambda x: (x @ x).tanh().sum())(wg.ones(4, 4)).item())"
    env = {**os.environ, "XDG_CACHE_HOME": str(kept.parent)}
    started = [subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, env=env) for _ in range(4)]
    found = [p.communicate()[0] for p in started]
    assert [p.returncode for p in started] == [0] * 4 and len(set(found)) == 1
    assert len(programs(kept)) == 1 and not list(kept.glob("*.tmp"))


# -- what tells programs apart ---------------------------------------------------------------------


def name(f, *args, options=()):
    return fingerprint.fingerprint(wg.trace(f, *args), *options)


def test_what_the_name_covers():
    def base(x):
        return (x * 2.0).sum(0)

    x = wg.ones(3, 4)
    names = [
        name(base, x), name(base, wg.ones(4, 3)), name(base, x.double()), name(lambda x: (x * 2.5).sum(0), x),
        name(lambda x: (x * 2.0).sum(1), x), name(lambda x: (x * 2.0).amax(0), x),
        name(lambda x: (2.0 - x).sum(0), x), name(lambda x: (x - 2.0).sum(0), x), name(base, x, options=(1,)),
        name(lambda x: x * wg.tensor([1.0, 2.0, 3.0, 4.0]), x), name(lambda x: x * wg.tensor([1.0, 2.0, 3.0, 5.0]), x),
        name(lambda x: x * wg.tensor([1.0, 0.0, 3.0, 4.0]), x), name(lambda x: x * wg.tensor([1.0, -0.0, 3.0, 4.0]), x),
        name(lambda x: wg.scan(lambda c, y: (c + y, None), x[0], x)[0], x),
        name(lambda x: wg.scan(lambda c, y: (c - y, None), x[0], x)[0], x),
    ]  # fmt: skip
    assert None not in names and len(set(names)) == len(names)


def test_what_the_name_does_not_cover():
    """Where the user's code stands; and another trace of the same is the same."""
    x = wg.ones(3, 4)

    def first(x):
        return wg.softmax(x.exp(), 1)

    def second(y):
        z = y.exp()
        return wg.softmax(z, 1)

    assert name(first, x) == name(first, x) == name(second, x)


def test_the_name_covers_processor_and_source(monkeypatch):
    before = name(wg.exp, wg.ones(3))
    monkeypatch.setattr(fingerprint, "host", avx2)
    other = name(wg.exp, wg.ones(3))
    monkeypatch.setattr(fingerprint, "_source", lambda: "another")
    assert len({before, other, name(wg.exp, wg.ones(3))}) == 3


def test_source_that_was_edited_since_the_start_is_not_named(monkeypatch):
    assert name(wg.exp, wg.ones(3))
    fingerprint._source.cache_clear()
    folders = [fingerprint._SOURCE / name for name in fingerprint._FOLDERS]
    newest = max(path.stat().st_mtime for folder in folders for path in folder.glob("*.py"))
    monkeypatch.setattr(fingerprint, "LOADED", newest - 1)
    assert name(wg.exp, wg.ones(3)) is None and LOADED > 0


def test_what_has_no_name_is_compiled_all_the_same(kept, scheduled, monkeypatch):
    class Foreign(type(OPS["exp"])):
        pass

    graph = wg.trace(lambda x: x.exp(), wg.ones(3))
    monkeypatch.setattr(graph.nodes[-1], "op", Foreign())
    assert fingerprint.fingerprint(graph) is None
    for _ in range(2):
        made = program.compiled(graph)
    assert len(scheduled) == 2 and len(made.outputs) == 1 and programs(kept) == []


def test_a_rule_for_derivatives_makes_no_difference(kept, scheduled):
    class Double(wg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    for _ in range(2):
        assert wg.compile(lambda x: Double.apply(x).sum())(wg.ones(3)).item() == 6
    assert len(scheduled) == 1


@pytest.mark.parametrize("variable", ["WENGERT_CACHE", "WENGERT_CHECK", "WENGERT_DUMP"])
def test_made_anew_when_asked(kept, scheduled, monkeypatch, tmp_path, variable):
    value = {"WENGERT_CACHE": "0", "WENGERT_CHECK": "1", "WENGERT_DUMP": str(tmp_path / "dump")}[variable]
    monkeypatch.setenv(variable, value)
    for _ in range(2):
        wg.compile(lambda x: x.exp().sum())(wg.ones(3))
    assert len(scheduled) == 2 and programs(kept) == []


def test_an_error_names_the_line_of_the_code_that_runs(kept, scheduled):
    def first(x, i):
        return x[i].sum()

    def second(x, i):
        y = x[i]  # another line than in `first`
        return y.sum()

    lines = []
    for f in (first, second):
        run = wg.compile(f)
        run(wg.ones(5), wg.tensor([0, 4]))
        with pytest.raises(IndexRangeError) as error:
            run(wg.ones(5), wg.tensor([0, 5]))
        lines.append(str(error.value).partition("test_program.py:")[2][:3])
    assert len(scheduled) == 2
    assert lines == [str(f.__code__.co_firstlineno + 1) for f in (first, second)]
