"""The safetensors format: tensors by name in one file that runs no code when read.

Eight bytes say how long the header is, the header is JSON with dtype, shape and place of each tensor, the rest
are the bytes of the tensors. Written and read here by NumPy alone, bfloat16 included.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import api
from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, message
from ..serialization import write_atomically
from ..tensor import Tensor

__all__ = ["load_file", "load_metadata", "save_file"]

_MOST_HEADER = 100_000_000  # bytes, the format's own limit
_METADATA = "__metadata__"
_DTYPES = {
    "BOOL": dt.bool_, "U8": dt.uint8, "I8": dt.int8, "U16": dt.uint16, "I16": dt.int16, "U32": dt.uint32,
    "I32": dt.int32, "U64": dt.uint64, "I64": dt.int64, "F16": dt.float16, "BF16": dt.bfloat16, "F32": dt.float32,
    "F64": dt.float64, "C64": dt.complex64,
}  # fmt: skip
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def save_file(tensors: Mapping[str, Any], filename: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name, atomically: the file appears under its name only when complete.

    Args:
        tensors: tensors or arrays, such as a ``state_dict()``. One that stands under two names is written twice.
        filename: where to.
        metadata: texts by name, kept in the header.

    Raises:
        DTypeError: a value is no tensor, or of a dtype that the format does not have (complex128).

    >>> import tempfile, pathlib, wengert as wg
    >>> from wengert.utils.safetensors import load_file, save_file
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save_file({"w": wg.ones(2, dtype=wg.bfloat16)}, path)
    >>> load_file(path)
    {'w': tensor([1., 1.], dtype=wengert.bfloat16)}
    """
    arrays = {name: _array(name, value) for name, value in tensors.items()}
    # Larger items first keep every tensor aligned; then by name, so that equal contents give equal files.
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    header: dict[str, Any] = {_METADATA: _texts(metadata)} if metadata else {}
    end = 0
    for name, value in arrays.items():
        start, end = end, end + value.nbytes
        header[name] = {"dtype": _CODES[dt.of(value.dtype)], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MOST_HEADER:
        raise ArgumentError(message("save_file", "the header is too long for the format", f"{len(text)} bytes"))

    def write(file: IO[bytes]) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in arrays.values():
            file.write(_little(np.ascontiguousarray(value)).reshape(-1).view(np.uint8).data)

    write_atomically(Path(filename), write)


def _array(name: str, value: Any) -> Any:
    if name == _METADATA:
        raise ArgumentError(message("save_file", "a tensor cannot have the name that the format keeps", _METADATA))
    if not isinstance(value, Tensor | np.ndarray | np.generic):
        cure = "wg.save takes nested data of all kinds"
        raise DTypeError(message("save_file", f"{name!r} is no tensor", type(value).__name__, cure))
    out = np.asarray(value.detach().numpy() if isinstance(value, Tensor) else value)
    if out.dtype == object or dt.of(out.dtype) not in _CODES:
        raise DTypeError(message("save_file", f"the format has no such dtype, for {name!r}", str(out.dtype)))
    return out


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    if not all(isinstance(x, str) for pair in metadata.items() for x in pair):
        raise ArgumentError(message("save_file", "metadata must be texts by name", repr(metadata)[:80]))
    return dict(metadata)


def _little(value: Any) -> Any:
    return value if sys.byteorder == "little" or value.itemsize == 1 else value.byteswap()


def load_file(filename: Any, device: Any = "cpu") -> dict[str, Tensor]:
    """Read all tensors of a file, whoever wrote it. Whatever it holds, no code of it runs.

    Args:
        filename: where from.
        device: "cpu", accepted for safetensors' sake.

    Raises:
        ArgumentError: the file is damaged, or not of this format.
        DTypeError: a tensor has a dtype that Wengert has not (the 8-bit floats).
    """
    from ..functional.creation import check_device

    check_device("load_file", device)
    with Path(filename).open("rb") as file:
        header, start = _header(file, filename)
        entries = _entries(header, filename, os.fstat(file.fileno()).st_size - start)
        out: dict[str, Tensor] = {}
        for name, (dtype, shape, begin, _) in entries.items():
            try:
                value = np.empty(shape, dtype.np)
            except ValueError as error:  # more dimensions than NumPy has, or (2**62, 0)
                raise _damaged(filename, f"the entry {name!r}: {error}") from None
            file.seek(start + begin)
            if file.readinto(value.reshape(-1).view(np.uint8).data) != value.nbytes:  # pyright: ignore
                raise _damaged(filename, "it has become shorter while it was read")
            out[name] = api.from_numpy(_little(value))
    return out


def load_metadata(filename: Any) -> dict[str, str]:
    """Read the texts of a file's header.

    >>> import tempfile, pathlib, wengert as wg
    >>> from wengert.utils.safetensors import load_metadata, save_file
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save_file({"w": wg.ones(2)}, path, {"epoch": "3"})
    >>> load_metadata(path)
    {'epoch': '3'}
    """
    with Path(filename).open("rb") as file:
        return _header(file, filename)[0].get(_METADATA, {})


def _damaged(filename: Any, seen: str) -> ArgumentError:
    return ArgumentError(message("load_file", f"{os.fspath(filename)} is damaged, or not a safetensors file", seen))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return out


def _header(file: IO[bytes], filename: Any) -> tuple[dict[str, Any], int]:
    """The header, and where the data begin."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _MOST_HEADER):
        raise _damaged(filename, f"a header of {length} bytes in a file of {size}")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique)
        if not isinstance(header, dict):
            raise ValueError("the header is no object")
        texts = header.get(_METADATA, {})
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("the metadata are not texts by name")
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise _damaged(filename, str(error)) from None
    return header, 8 + length


_Entry = tuple[dt.dtype, tuple[int, ...], int, int]  # dtype, shape, begin, end


def _entries(header: dict[str, Any], filename: Any, size: int) -> dict[str, _Entry]:
    """The entry of each tensor; they must fill the data from end to end, so memory is bounded by the file."""
    out = {name: _entry(name, entry, filename) for name, entry in header.items() if name != _METADATA}
    last = 0
    for begin, end in sorted(entry[2:] for entry in out.values()):
        if begin != last:
            raise _damaged(filename, f"a gap or an overlap at byte {begin} of the data")
        last = end
    if last != size:
        raise _damaged(filename, f"{size} bytes of data where the header tells {last}")
    return out


def _entry(name: str, entry: Any, filename: Any) -> _Entry:
    try:
        code, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError("numbers that are not whole and positive")
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(filename, f"the entry {name!r}: {type(error).__name__} {error}") from None
    if not isinstance(code, str) or code not in _DTYPES:
        raise DTypeError(message("load_file", f"{name!r} has a dtype that is not supported", repr(code)))
    length = math.prod(shape) * _DTYPES[code].np.itemsize
    if end - begin != length:
        raise _damaged(filename, f"the entry {name!r} has {end - begin} bytes for {list(shape)} of {code}")
    return _DTYPES[code], shape, begin, end
