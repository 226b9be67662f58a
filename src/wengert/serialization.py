"""``wg.save`` and ``wg.load``: nested data with tensors in one file. Reading a file never runs code.

The file is an uncompressed zip archive: ``wengert.json`` says how the data are nested, ``data/0``,
``data/1``, … are the bytes of the tensors. Files appear under their name only when complete. A tensor
that occurs twice is stored once, and is one tensor again after loading; views of one tensor are stored
each by itself.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from . import dtypes as dt
from .devices import device
from .errors import ArgumentError, DTypeError, message
from .functional.creation import check_device
from .graph.handle import Handle, wrap
from .tensor import Size

if TYPE_CHECKING:  # imported by the functions that need them, so that `import wengert` stays quick
    from pathlib import Path
    from zipfile import ZipFile, ZipInfo

FORMAT, VERSION = "wengert", 1
_STRUCTURE = "wengert.json"
_PLAIN = (bool, int, str, type(None))
_DEEP = 200  # levels of nesting


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a file that appears under its name only when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# -- nested data to JSON -----------------------------------------------------------------------------


class _Encoder:
    """Data as JSON; the arrays of its tensors are gathered beside it."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self.entries: list[dict[str, Any]] = []
        self.seen: dict[int, tuple[int, Any]] = {}  # the object too, so that its id stays its own

    def encode(self, x: Any, path: str, depth: int = 0) -> Any:
        """Plain values stand for themselves; all else is ``[kind, …]``."""
        if depth > _DEEP:
            raise ArgumentError(message("save", f"the data are nested more than {_DEEP} levels deep", path))
        if type(x) in _PLAIN:
            return x
        if type(x) is float:
            return ["float", x.hex()]
        if isinstance(x, (Handle, np.ndarray, np.generic)):
            return ["tensor" if isinstance(x, Handle) else "array", self._array(x, path)]
        if isinstance(x, dict):
            kind = "odict" if isinstance(x, OrderedDict) else "dict"
            pairs = [[self.encode(k, f"{path} key", depth + 1), self.encode(v, f"{path}[{k!r}]", depth + 1)]
                     for k, v in x.items()]  # fmt: skip
            return [kind, pairs]
        if isinstance(x, (list, tuple)) and type(x) in (list, tuple, Size):
            parts = [self.encode(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(x)]
            return [type(x).__name__.lower(), parts]
        return self._small(x, path)

    def _small(self, x: Any, path: str) -> Any:
        if type(x) is complex:
            return ["complex", [x.real.hex(), x.imag.hex()]]
        if type(x) is bytes:
            return ["bytes", x.hex()]
        if isinstance(x, dt.dtype):
            return ["dtype", x.name]
        if isinstance(x, device):
            return ["device", str(x)]
        cure = "Save net.state_dict() instead of the module" if hasattr(x, "state_dict") else (
            "Tensors, numbers, strings, and lists, tuples and dicts of them can be saved")  # fmt: skip
        raise DTypeError(message("save", f"{path} has a type that cannot be saved", type(x).__name__, cure))

    def _array(self, x: Any, path: str) -> int:
        if id(x) in self.seen:
            return self.seen[id(x)][0]
        value = np.asarray(x._concrete("save") if isinstance(x, Handle) else x)
        if value.dtype == object or not value.dtype.isnative:
            raise DTypeError(message("save", f"{path} has a dtype that cannot be saved", str(value.dtype)))
        entry = {"dtype": dt.of(value.dtype).name, "shape": list(value.shape)}
        if isinstance(x, Handle) and x.requires_grad:
            entry["requires_grad"] = True
        number = len(self.arrays)
        self.arrays.append(value)
        self.entries.append(entry)
        self.seen[id(x)] = (number, x)
        return number


# -- and back ----------------------------------------------------------------------------------------


class _Decoder:
    """Builds the data; only the kinds listed here can come out."""

    def __init__(self, arrays: list[Any], entries: list[dict[str, Any]]) -> None:
        self.arrays, self.entries = arrays, entries
        self.tensors: dict[int, Any] = {}
        self.kinds: dict[str, Callable[[Any], Any]] = {
            "array": lambda i: self.arrays[i],
            "bytes": bytes.fromhex,
            "complex": lambda p: complex(float.fromhex(p[0]), float.fromhex(p[1])),
            "device": device,
            "dict": lambda pairs: {self.decode(k): self.decode(v) for k, v in pairs},
            "dtype": dt.by_name,
            "float": float.fromhex,
            "list": lambda parts: [self.decode(v) for v in parts],
            "odict": lambda pairs: OrderedDict((self.decode(k), self.decode(v)) for k, v in pairs),
            "size": lambda parts: Size(self.decode(v) for v in parts),
            "tensor": self._tensor,
            "tuple": lambda parts: tuple(self.decode(v) for v in parts),
        }

    def decode(self, x: Any) -> Any:
        """The value that a piece of JSON stands for."""
        if type(x) in _PLAIN:
            return x
        kind, content = x
        return self.kinds[kind](content)

    def _tensor(self, i: int) -> Any:
        if i not in self.tensors:
            out = wrap(self.arrays[i])
            self.tensors[i] = out.requires_grad_() if self.entries[i].get("requires_grad") else out
        return self.tensors[i]


# -- files -------------------------------------------------------------------------------------------


def save(obj: Any, f: Any) -> None:
    """Write nested data with tensors to a file: a path (written atomically) or a binary file object.

    Args:
        obj: tensors, arrays, numbers, strings, bytes, None, dtypes, and dicts, lists and tuples of them.
        f: where to.

    Raises:
        DTypeError: something else is in it, such as a module: save its ``state_dict()``.

    >>> import io, wengert as wg
    >>> file = io.BytesIO()
    >>> wg.save({"weights": wg.ones(2), "epoch": 3}, file)
    >>> wg.load(io.BytesIO(file.getvalue()))
    {'weights': tensor([1., 1.]), 'epoch': 3}
    """
    import json
    from pathlib import Path
    from zipfile import ZIP_STORED, ZipFile

    encoder = _Encoder()
    tree = encoder.encode(obj, "the data")
    structure = {"format": FORMAT, "version": VERSION, "byteorder": sys.byteorder, "tensors": encoder.entries}

    def write(file: IO[bytes]) -> None:
        with ZipFile(file, "w", ZIP_STORED) as archive:
            archive.writestr(_STRUCTURE, json.dumps({**structure, "data": tree}))
            for i, value in enumerate(encoder.arrays):
                with archive.open(f"data/{i}", "w", force_zip64=True) as entry:
                    entry.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)

    if hasattr(f, "write"):
        write(f)
    else:
        write_atomically(Path(f), write)


def load(f: Any, map_location: Any = None, *, weights_only: bool = True, mmap: bool | None = None) -> Any:
    """Read what `save` wrote, from a path or a binary file object.

    Reading runs no code, whatever the file holds, so ``weights_only`` changes nothing.

    Args:
        f: where from.
        map_location: accepted where it names the CPU, the only device; functions and dicts are ignored.
        weights_only: accepted for PyTorch's sake.
        mmap: accepted for PyTorch's sake.

    Raises:
        ArgumentError: the file is damaged, or not one of `save`'s.
    """
    from zipfile import BadZipFile, ZipFile

    if isinstance(map_location, (str, device)):
        check_device("load", map_location)
    name = getattr(f, "name", "the file") if hasattr(f, "read") else os.fspath(f)
    try:
        with ZipFile(f) as archive:
            return _read(archive, name)
    except BadZipFile as error:
        raise ArgumentError(
            message("load", f"{name} is damaged, or was not written by wengert.save", str(error))
        ) from None


def _read(archive: ZipFile, name: Any) -> Any:
    import json

    entries = {info.filename: info for info in archive.infolist()}
    if _STRUCTURE not in entries:
        cause = f"{name} was not written by wengert.save"
        if any(n.endswith("data.pkl") for n in entries):
            raise ArgumentError(message("load", cause, "a pickle of torch.save, which may run code when read",
                                        "Save it as safetensors or NumPy arrays there"))  # fmt: skip
        raise ArgumentError(message("load", cause))
    try:
        structure = json.loads(archive.read(_STRUCTURE))
        if structure["format"] != FORMAT or structure["version"] > VERSION:
            seen = f"version {structure['version']}"
            raise ArgumentError(message("load", f"{name} is of a newer format", seen, "Use a newer wengert"))
        if structure["byteorder"] != sys.byteorder:
            raise ArgumentError(message("load", f"{name} comes from a machine of the other byte order"))
        arrays = [_array(archive, entries[f"data/{i}"], e) for i, e in enumerate(structure["tensors"])]
        return _Decoder(arrays, structure["tensors"]).decode(structure["data"])
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(message("load", f"{name} is damaged", f"{type(error).__name__}: {error}")) from None


def _array(archive: ZipFile, info: ZipInfo, entry: dict[str, Any]) -> Any:
    """One tensor's array; sizes are checked before memory is taken."""
    from zipfile import ZIP_STORED

    dtype = dt.by_name(entry["dtype"]).np
    shape = tuple(int(n) for n in entry["shape"])
    size = dtype.itemsize
    for n in shape:
        size *= n
    if info.compress_type != ZIP_STORED or info.file_size != size or min(shape, default=0) < 0:
        raise ValueError(f"{info.filename} has {info.file_size} bytes for shape {list(shape)} of {entry['dtype']}")
    data = archive.read(info)  # checks the checksum
    return np.frombuffer(bytearray(data), dtype).reshape(shape)


__all__ = ["load", "save"]
