"""Files in one folder for each class, whatever the files hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import message
from ..utils.data import Dataset


class DatasetFolder(Dataset):
    """Files in one folder for each class: ``root/cat/1.txt``, ``root/dog/a/2.txt``; sample i is (content, class).

    Classes are numbered in the alphabetical order of their folders' names; files are found in
    subfolders too.

    Args:
        root: the folder.
        loader: reads a file, given its path.
        extensions: endings of the files to read, in lower case; None for all files.
        transform: is given what the loader returns.
        target_transform: is given each class number.
        is_valid_file: whether a file is to be read, instead of ``extensions``.
        allow_empty: whether a class may have no files.

    Attributes:
        classes: their names. ``class_to_idx`` has their numbers, ``samples`` the pairs (path, number),
            ``targets`` the numbers.

    Raises:
        FileNotFoundError: there is no such folder, no class in it, or nothing in a class.

    >>> import tempfile, pathlib
    >>> from wengert.data import DatasetFolder
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("even/2.txt", "odd/1.txt", "odd/3.txt"):
    ...         path = pathlib.Path(root, name)
    ...         path.parent.mkdir(exist_ok=True)
    ...         _ = path.write_text(path.stem)
    ...     files = DatasetFolder(root, lambda path: int(pathlib.Path(path).read_text()))
    ...     files.classes, [files[i] for i in range(len(files))]
    (['even', 'odd'], [(2, 0), (1, 1), (3, 1)])
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        loader: Callable[[str], Any],
        extensions: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        name, folder = type(self).__name__, Path(root)
        if not folder.is_dir():
            raise FileNotFoundError(message(name, "no such folder", str(folder)))
        self.root, self.transform, self.target_transform, self.loader = folder, transform, target_transform, loader
        self.classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        if not self.classes:
            raise FileNotFoundError(
                message(name, "no folder of a class in it", str(folder), "Put each class into its own folder")
            )
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        endings = None if extensions is None else tuple(extensions)
        valid = is_valid_file or (lambda path: endings is None or path.lower().endswith(endings))
        self.samples: list[tuple[str, int]] = []
        for label, number in self.class_to_idx.items():
            files = sorted(str(path) for path in (folder / label).rglob("*") if path.is_file() and valid(str(path)))
            if not files and not allow_empty:
                cure = f"Known endings: {' '.join(endings)}" if endings and not is_valid_file else ""
                raise FileNotFoundError(message(name, "a class has no files", str(folder / label), cure))
            self.samples += [(file, number) for file in files]
        self.targets = [number for _, number in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        content = self.loader(path)
        if self.transform is not None:
            content = self.transform(content)
        return content, target if self.target_transform is None else self.target_transform(target)
