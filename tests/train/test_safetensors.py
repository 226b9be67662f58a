"""The safetensors format: the same files as the library's, and nothing but numbers comes out of any file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import wengert as wg
from wengert.serialization import write_atomically
from wengert.utils.safetensors import load_file, load_metadata, save_file

DTYPES = [
    wg.bool, wg.uint8, wg.int8, wg.uint16, wg.int16, wg.uint32, wg.int32, wg.uint64, wg.int64, wg.float16, wg.bfloat16,
    wg.float32, wg.float64, wg.complex64,
]  # fmt: skip


def some(dtype: Any) -> dict[str, Any]:
    x = wg.tensor([[0.0, 1.0, 2.0], [3.0, 100.0, 5.0]]).to(dtype)
    return {"plain": x, "0-d": x[1, 1], "empty": x[:, :0], "transposed": x.T, "strided": x[:, ::2], "ä.β": x[0]}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_read_by_the_library_and_here(dtype: Any, tmp_path: Path) -> None:
    tensors = some(dtype)
    save_file(tensors, tmp_path / "ours", {"note": "ü"})
    theirs = dict(safetensors.deserialize((tmp_path / "ours").read_bytes()))
    assert theirs.keys() == tensors.keys()
    back = load_file(tmp_path / "ours")
    for name, x in tensors.items():
        assert theirs[name]["shape"] == list(x.shape)
        assert bytes(theirs[name]["data"]) == np.ascontiguousarray(x.numpy()).tobytes()
        assert back[name].dtype == dtype
        assert back[name].shape == x.shape
        assert wg.equal(back[name], x)
        back[name].detach().zero_()  # it is writable
    with safetensors.safe_open(tmp_path / "ours", "numpy") as file:
        assert file.metadata() == {"note": "ü"}
    assert load_metadata(tmp_path / "ours") == {"note": "ü"}


def test_written_by_the_library(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2], np.uint8), "c": np.float32(3)[None]}
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", {"epoch": "3"})
    back = load_file(tmp_path / "theirs")
    assert back.keys() == arrays.keys()
    assert all(
        np.array_equal(back[name].numpy(), x) and back[name].numpy().dtype == x.dtype for name, x in arrays.items()
    )
    assert load_metadata(tmp_path / "theirs") == {"epoch": "3"}
    save_file(arrays, tmp_path / "ours", {"epoch": "3"})
    assert load_file(tmp_path / "ours").keys() == back.keys()


def test_a_model_and_its_tied_weights(tmp_path: Path) -> None:
    net = wg.nn.Sequential(wg.nn.Linear(3, 3), wg.nn.BatchNorm1d(3), wg.nn.Linear(3, 3))
    net[2].weight = net[0].weight
    save_file(net.state_dict(), tmp_path / "w")
    other = wg.nn.Sequential(wg.nn.Linear(3, 3), wg.nn.BatchNorm1d(3), wg.nn.Linear(3, 3))
    other.load_state_dict(load_file(tmp_path / "w"))
    assert all(wg.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    save_file({}, tmp_path / "none")
    assert load_file(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({"x": [1.0]}, None, "'x' is no tensor: list"),
        ({"x": np.array([print])}, None, "no such dtype, for 'x': object"),
        ({"x": np.ones(1, np.complex128)}, None, "no such dtype, for 'x': complex128"),
        ({"__metadata__": wg.ones(1)}, None, "the name that the format keeps"),
        ({"x": wg.ones(1)}, {"epoch": 3}, "metadata must be texts by name"),
    ],
)
def test_what_cannot_be_written(tensors: Any, metadata: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_text("old")
    with pytest.raises((ValueError, TypeError), match=words):
        save_file(tensors, tmp_path / "w", metadata)
    assert (tmp_path / "w").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"old")

    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BAD = {
    "empty": b"",
    "short": b"\1\2",
    "long header": raw({}, length=10**6),
    "huge header": raw({}, length=2**63),
    "not JSON": raw(b"{'a'"),
    "not UTF-8": raw(b'{"\xff": 1}'),
    "a list": raw([]),
    "deep": raw(b'{"a":' * 100_000),
    "twice": raw(b'{"a": {"dtype":"U8","shape":[1],"data_offsets":[0,1]}, "a": 1}', b"1"),
    "no offsets": raw({"a": {"dtype": "F32", "shape": [1]}}, b"1234"),
    "a text": raw({"a": "F32"}, b"1234"),
    "negative": raw({"a": entry(0, 4, (-1,))}, b"1234"),
    "negative offset": raw({"a": entry(-4, 0)}, b"1234"),
    "a float": raw({"a": entry(0, 4, (1.0,))}, b"1234"),
    "true": raw({"a": entry(0, 4, (True,))}, b"1234"),
    "three offsets": raw({"a": {**entry(0, 4), "data_offsets": [0, 4, 8]}}, b"1234"),
    "wrong size": raw({"a": entry(0, 4, (2,))}, b"1234"),
    "beyond the end": raw({"a": entry(0, 400, (100,))}, b"1234"),
    "huge": raw({"a": entry(0, 2**62, (2**60,))}, b"1234"),
    "many dimensions": raw({"a": entry(0, 4, [1] * 100)}, b"1234"),
    "huge and empty": raw({"a": entry(0, 0, (2**62, 2**62, 0))}),
    "a gap": raw({"a": entry(4, 8)}, b"12345678"),
    "an overlap": raw({"a": entry(0, 4), "b": entry(0, 4)}, b"1234"),
    "left over": raw({"a": entry(0, 4)}, b"12345"),
    "metadata": raw({"__metadata__": {"a": 1}}),
    "metadata list": raw({"__metadata__": []}),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(BAD[name])
    with pytest.raises(ValueError, match="bad is damaged, or not a safetensors file"):
        load_file(path)


def test_unknown_dtypes(tmp_path: Path) -> None:
    for dtype in ("F8_E4M3", ["F32"]):
        (tmp_path / "w").write_bytes(raw({"a": entry(0, 1, (1,), dtype)}, b"1"))
        with pytest.raises(TypeError, match="'a' has a dtype that is not supported"):
            load_file(tmp_path / "w")


@given(st.data())
def test_flipped_bytes_never_do_worse_than_an_error(data: Any) -> None:
    import tempfile

    good = raw({"a": entry(0, 8, (2,)), "b": entry(8, 9, (), "U8")}, b"123456789")
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w"
        path.write_bytes(bad)
        try:
            back = load_file(path)
        except (ValueError, TypeError):  # what `load_file` is documented to raise
            return
        assert sum(x.numel() * x.element_size() for x in back.values()) == 9
