"""`save` and `load`: what goes in comes out, and nothing in a file can do harm."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.nn as nn
import wengert.optim as optim

DTYPES = [
    wg.bool, wg.uint8, wg.int8, wg.int16, wg.int32, wg.int64, wg.float16, wg.bfloat16, wg.float32, wg.float64,
    wg.complex64, wg.complex128,
]  # fmt: skip


def round_trip(x: Any) -> Any:
    file = io.BytesIO()
    wg.save(x, file)
    return wg.load(io.BytesIO(file.getvalue()))


@pytest.mark.quick(shape=[(), (2, 3)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)], ids=str)
def test_tensors(dtype: Any, shape: tuple[int, ...]) -> None:
    x = wg.arange(6)[: int(np.prod(shape))].reshape(shape).to(dtype)
    y = round_trip(x)
    assert y.dtype is dtype
    assert y.shape == shape
    assert wg.equal(x, y)
    y.zero_()  # the memory can be written to


def test_strided_tensors() -> None:
    x = wg.arange(24).reshape(4, 6)
    assert wg.equal(round_trip(x.T[::2]), x.T[::2])


def test_nested_data() -> None:
    data = {
        "list": [1, 2.5, float("inf"), -0.0, True, None, "text", b"\x00\xff", 3 - 2j],
        "tuple": (1, (2, [3])),
        7: {"state": OrderedDict(a=1, b=2)},
        (1, "key"): wg.float16,
        "size": wg.zeros(2, 3).shape,
        "device": wg.device("cpu"),
        "big": 2**80,
    }
    got = round_trip(data)
    assert got == data
    assert list(got) == list(data)
    assert type(got["tuple"]) is tuple
    assert type(got[7]["state"]) is OrderedDict
    assert type(got["size"]) is wg.Size
    assert np.isnan(round_trip(float("nan")))


def test_arrays_stay_arrays() -> None:
    got = round_trip({"a": np.eye(2)})
    assert isinstance(got["a"], np.ndarray)
    assert np.array_equal(got["a"], np.eye(2))


def test_one_tensor_twice_is_one_tensor() -> None:
    x = wg.ones(2, requires_grad=True)
    a, b = round_trip([x, x])
    assert a is b
    assert a.requires_grad


def test_training_goes_on(tmp_path: Path) -> None:
    wg.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    x = wg.randn(4, 3)
    net(x).sum().backward()
    optimizer.step()
    wg.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "last.wg")
    again = nn.Linear(3, 2)
    other = optim.Adam(again.parameters())
    found = wg.load(tmp_path / "last.wg")
    again.load_state_dict(found["net"])
    other.load_state_dict(found["optimizer"])
    for n, o in ((net, optimizer), (again, other)):
        o.zero_grad()
        n(x).sum().backward()
        o.step()
    assert wg.equal(net.weight, again.weight)
    assert found["epoch"] == 3


def test_modules_are_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(wg.errors.DTypeError, match=r"\['net'\].*state_dict"):
        wg.save({"net": nn.Linear(2, 2)}, tmp_path / "net.wg")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.wg"
    wg.save([1], path)
    with pytest.raises(wg.errors.WengertError, match=r"the data\[0\]"):
        wg.save([object()], path)
    assert wg.load(path) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.wg"]


def test_deep_nesting_is_an_error() -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(wg.errors.ArgumentError, match="nested"):
        wg.save(deep, io.BytesIO())


class Evil:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code ran",))


def archive(**entries: bytes | str) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        for name, content in entries.items():
            z.writestr(name.replace("__", "/").replace("_", "."), content)
    return io.BytesIO(file.getvalue())


def structure(**changes: Any) -> str:
    whole = {"format": "wengert", "version": 1, "byteorder": "little", "tensors": [], "data": None}
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(b""),
        io.BytesIO(b"not an archive"),
        io.BytesIO(pickle.dumps(Evil())),
        archive(other="x"),
        archive(archive__data_pkl=pickle.dumps(Evil())),
        archive(wengert_json="{"),
        archive(wengert_json="[]"),
        archive(wengert_json=structure(version=99)),
        archive(wengert_json=structure(data=["evil", 1])),
        archive(wengert_json=structure(data=["tensor", 0])),
        archive(wengert_json=structure(data="[" * 100_000)[:-2]),
        archive(wengert_json=structure(tensors=[{"dtype": "float32", "shape": [3]}]), data__0=b"1234"),
        archive(wengert_json=structure(tensors=[{"dtype": "float32", "shape": [10**15]}]), data__0=b"1234"),
        archive(wengert_json=structure(tensors=[{"dtype": "float32", "shape": [-1, -1]}]), data__0=b"1234"),
        archive(wengert_json=structure(tensors=[{"dtype": "object", "shape": []}]), data__0=b"1234"),
    ],
    ids=range(15),
)  # fmt: skip
def test_bad_files_are_clear_errors(file: io.BytesIO) -> None:
    with pytest.raises(wg.errors.ArgumentError, match="load: "):
        wg.load(file)


def test_every_truncation_and_flipped_byte_is_noticed() -> None:
    file = io.BytesIO()
    wg.save({"x": wg.arange(4.0)}, file)
    whole = file.getvalue()
    for size in range(0, len(whole), 7):
        with pytest.raises(wg.errors.ArgumentError):
            wg.load(io.BytesIO(whole[:size]))
    start = whole.index(np.arange(4.0, dtype=np.float32).tobytes())
    broken = bytearray(whole)
    broken[start + 5] ^= 1
    with pytest.raises(wg.errors.ArgumentError, match="damaged"):
        wg.load(io.BytesIO(bytes(broken)))


def test_a_missing_file_is_pythons_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        wg.load(tmp_path / "none.wg")


def test_map_location_is_the_cpu() -> None:
    file = io.BytesIO()
    wg.save(1, file)
    assert wg.load(file, map_location="cpu") == wg.load(file, wg.device("cpu"), weights_only=False) == 1
    with pytest.raises(wg.errors.DTypeError, match="cuda"):
        wg.load(file, map_location="cuda:0")
