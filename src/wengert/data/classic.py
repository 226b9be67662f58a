"""MNIST, FashionMNIST, CIFAR-10 and CIFAR-100, read from the files their authors give out.

Reading never runs code: of CIFAR the binary version is read, and of the version for Python, whose files
are pickles, only arrays, lists, strings and numbers are let in.
"""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, WengertError, message, need
from .images import ArrayImages

_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error)  # what compressed files raise that were cut or damaged
_IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> Any:
    """Read an array in MNIST's IDX format, plain or compressed with gzip.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats.
    """
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            data = file.read()
        zero, code, rank = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
        if zero != 0 or code not in _IDX_DTYPES:
            raise ValueError("its first four bytes are not those of an IDX file")
        array = np.frombuffer(data, _IDX_DTYPES[code], offset=4 + 4 * rank)
        return array.reshape(shape).astype(array.dtype.newbyteorder("="))
    except (ValueError, struct.error, *_BROKEN) as error:
        raise ArgumentError(message("read_idx", "not a whole IDX file", f"{path}: {error}")) from error


def _download(what: str, folder: Path, mirrors: Sequence[str], name: str, md5: str) -> Path:
    """Fetch a file and check it; nothing incomplete is left under its name."""
    pooch = need("pooch", "images", what)
    last: Exception | None = None
    for mirror in mirrors:
        try:
            return Path(pooch.retrieve(mirror + name, known_hash=f"md5:{md5}", fname=name, path=folder))
        except (OSError, ValueError) as error:  # no network, or other bytes than expected
            last = error
    where = " or ".join(mirror + name for mirror in mirrors)
    raise WengertError(
        message(what, f"could not download {name}", f"{last}", f"Get {where} elsewhere and put it into {folder}")
    ) from last


def _missing(what: str, names: Sequence[str], folders: Sequence[Path], source: str) -> FileNotFoundError:
    return FileNotFoundError(
        message(
            what,
            "files are missing",
            ", ".join(names),
            f"Put them (from {source}) into {' or '.join(map(str, folders))}, or pass download=True when online",
        )
    )


def _unpack(path: Path, root: Path) -> None:
    """The regular files of an archive, none of them outside ``root`` (Python before 3.11.4 has no filter for that)."""
    with tarfile.open(path) as archive:
        _unpack_members(archive, root)
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass  # the check sum stands at the end, behind what tarfile reads


def _unpack_members(archive: tarfile.TarFile, root: Path) -> None:
    for member in archive:
        target = (root / member.name).resolve()
        if not target.is_relative_to(root.resolve()):
            raise tarfile.TarError(f"{member.name!r} lies outside the folder")
        source = archive.extractfile(member) if member.isfile() else None
        if source is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)


class MNIST(ArrayImages):
    """70,000 handwritten digits of 28 by 28 pixels; 60,000 for training.

    Args:
        root: the folder that holds ``MNIST/raw/train-images-idx3-ubyte`` (torchvision's place) or the
            files themselves, compressed (``.gz``) or not.
        train: the training images, else the 10,000 test images.
        transform: is given a batch of uint8 (n, 1, 28, 28), or one sample (1, 28, 28).
        target_transform: is given one label.
        download: fetch files that are missing, and check them.

    Raises:
        FileNotFoundError: says which files are missing and where to put them.
    """

    mirrors: Sequence[str] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )
    checksums = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    classes: Sequence[str] = tuple("0123456789")

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root, self.train = Path(root), train
        part = "train" if train else "t10k"
        images, labels = (self._file(f"{part}-{kind}-ubyte", download) for kind in ("images-idx3", "labels-idx1"))
        pixels, targets = read_idx(images), read_idx(labels)
        if pixels.ndim != 3 or targets.ndim != 1 or len(pixels) != len(targets):
            seen = f"{images} {pixels.shape}, {labels} {targets.shape}"
            raise ArgumentError(message(type(self).__name__, "images and labels do not belong together", seen))
        super().__init__(pixels[:, None], targets.astype(np.int64), transform, target_transform)

    def _file(self, name: str, download: bool) -> Path:
        kind = type(self).__name__
        folders = [self.root / kind / "raw", self.root / kind, self.root]
        for folder in folders:
            for ending in ("", ".gz"):
                if (folder / (name + ending)).is_file():
                    return folder / (name + ending)
        packed = f"{name}.gz"
        if download:
            return _download(kind, folders[0], self.mirrors, packed, self.checksums[packed])
        raise _missing(kind, [packed], folders[:1], self.mirrors[0])


class FashionMNIST(MNIST):
    """70,000 pictures of clothes, in MNIST's format and sizes; arguments as for `MNIST`."""

    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    checksums = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    classes = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip


class CIFAR10(ArrayImages):
    """60,000 colour pictures of 32 by 32 pixels in ten classes; 50,000 for training.

    Args:
        root: the folder that holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py`` or the archive
            of the binary version.
        train: the training images, else the 10,000 test images.
        transform: is given a batch of uint8 (n, 3, 32, 32), or one sample (3, 32, 32).
        target_transform: is given one label.
        download: fetch the archive of the binary version where nothing is there, and check it.

    Raises:
        FileNotFoundError: says which files are missing and where to put them.
    """

    mirrors: Sequence[str] = ("https://www.cs.toronto.edu/~kriz/",)
    archive = ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
    folders = ("cifar-10-batches-bin", "cifar-10-batches-py")
    parts = (tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",))
    label_bytes = 1
    label_key = "labels"
    names: tuple[str, tuple[str, str]] = ("batches.meta.txt", ("batches.meta", "label_names"))

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root, self.train = Path(root), train
        if not any((self.root / folder).is_dir() for folder in self.folders):
            self._extract(download)
        names = self.parts[0] if train else self.parts[1]
        binary = self.root / self.folders[0]
        read = self._read_binary if binary.is_dir() else self._read_pickle
        pieces = [read(name) for name in names]
        images, targets = (np.concatenate(piece) for piece in zip(*pieces, strict=True))
        self.classes = self._class_names()
        super().__init__(images, targets, transform, target_transform)

    def _extract(self, download: bool) -> None:
        kind, (name, md5) = type(self).__name__, self.archive
        path = self.root / name
        if not path.is_file():
            if not download:
                raise _missing(kind, [name], [self.root], self.mirrors[0] + name)
            path = _download(kind, self.root, self.mirrors, name, md5)
        with tempfile.TemporaryDirectory(dir=self.root) as scratch:  # nothing incomplete is left
            try:
                _unpack(path, Path(scratch))
                (Path(scratch) / self.folders[0]).rename(self.root / self.folders[0])
            except (tarfile.TarError, FileNotFoundError, *_BROKEN) as error:
                raise ArgumentError(message(kind, "not a whole archive", f"{path}: {error}", "Get it again")) from error

    def _path(self, folder: int, name: str) -> Path:
        path = self.root / self.folders[folder] / name
        if not path.is_file():
            raise _missing(type(self).__name__, [name], [path.parent], self.mirrors[0] + self.archive[0])
        return path

    def _read_binary(self, name: str) -> tuple[Any, Any]:
        """Records of a label byte (CIFAR-100: coarse and fine) and 3072 pixels, plane by plane."""
        path = self._path(0, f"{name}.bin")
        data = np.fromfile(path, np.uint8)
        record = self.label_bytes + 3072
        if not len(data) or len(data) % record:
            seen = f"{path}: {len(data)} bytes, {record} a record"
            raise ArgumentError(message(type(self).__name__, "not a whole file", seen))
        rows = data.reshape(-1, record)
        return rows[:, self.label_bytes :].reshape(-1, 3, 32, 32), rows[:, self.label_bytes - 1].astype(np.int64)

    def _read_pickle(self, name: str) -> tuple[Any, Any]:
        path = self._path(1, name)
        content = _read_harmless(path)
        try:
            pixels = np.asarray(content["data"], np.uint8).reshape(-1, 3, 32, 32)
            targets = np.asarray(content[self.label_key], np.int64)
            if targets.shape != pixels.shape[:1]:
                raise ValueError(f"{len(pixels)} images, labels {targets.shape}")
            return pixels, targets
        except (KeyError, ValueError, TypeError) as error:
            seen = f"{path}: {error}"
            raise ArgumentError(message(type(self).__name__, "not images with their labels", seen)) from error

    def _class_names(self) -> list[str]:
        text, (pickled, key) = self.names
        path = self.root / self.folders[0] / text
        if path.is_file():
            return path.read_text().split()
        path = self.root / self.folders[1] / pickled
        return list(_read_harmless(path)[key]) if path.is_file() else []


class CIFAR100(CIFAR10):
    """60,000 colour pictures of 32 by 32 pixels in a hundred classes; arguments as for `CIFAR10`."""

    archive = ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")
    folders = ("cifar-100-binary", "cifar-100-python")
    parts = (("train",), ("test",))
    label_bytes = 2
    label_key = "fine_labels"
    names = ("fine_label_names.txt", ("meta", "fine_label_names"))


class _Harmless(pickle.Unpickler):
    """Lets in arrays and Python's own containers, numbers and strings; nothing that could run."""

    allowed = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a file of images has no use for")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_harmless(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = _Harmless(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, ValueError) as error:
        raise ArgumentError(message("CIFAR", "cannot read the file", f"{path}: {error}")) from error
    if not isinstance(content, dict):
        raise ArgumentError(message("CIFAR", "cannot read the file", f"{path}: holds a {type(content).__name__}"))
    return content
