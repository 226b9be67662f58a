"""What was compiled, kept on disk: object code, in memory too, so that equal IR is compiled once, and whole programs.

Files lie in ``$XDG_CACHE_HOME/wengert`` (``~/.cache/wengert``), named by what they were compiled from. Each is
written under another name and renamed, and begins with the hash of its content, so that a reader sees a whole
file or none, whatever other processes or a full disk do. The cache helps and is never needed: what cannot be
read is compiled, what cannot be written is not kept.

Environment: ``WENGERT_CACHE=0`` leaves the disk alone, ``WENGERT_CACHE_BYTES`` bounds it (1 GiB).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..codegen.target import Target
from ..errors import ArgumentError, message
from . import llvm

if TYPE_CHECKING:
    from concurrent.futures import Future

_FORMAT = b"wengert object 1\n"
_DIGEST_BYTES = 32
OBJECT, PROGRAM = ".o", ".program"  # endings of files
_UNFINISHED = ".tmp"
_DEFAULT_LIMIT = 1 << 30
_ABANDONED_SECONDS = 3600  # an unfinished file this old has no writer any more
_MEMORY_ENTRIES = 512

_memory: dict[str, bytes] = {}
_begun: dict[str, Future[bytes | None]] = {}  # what helpers compile, or will
_unmeasured = _DEFAULT_LIMIT  # bytes written since the directory was last measured; at first, unknown


def get_object(ir_text: str, target: Target, name: str) -> bytes:
    """Object code of a module of LLVM IR: from memory, from disk, or compiled now.

    Arguments and errors are those of `llvm.compile_ir`. With ``WENGERT_DUMP`` set, the first use of a module in
    a process compiles it, so that there is something to dump.
    """
    key = _key(ir_text, target)
    code = _memory.get(key)
    if code is not None:
        return code
    with llvm.LOCK:  # another thread may be compiling the same
        code = _memory.get(key)
        if code is None:
            begun = _begun.pop(key, None)
            code = None if os.environ.get("WENGERT_DUMP") or begun is not None else read(key, OBJECT)
            if code is None:
                helped = None if begun is None or begun.cancel() else begun.result()
                code = helped or llvm.compile_ir(ir_text, target, name)
                write(key, OBJECT, code)
            while len(_memory) >= _MEMORY_ENTRIES:
                del _memory[next(iter(_memory))]
            _memory[key] = code
    return code


def begin(ir_text: str, target: Target) -> None:
    """Have a helper compile a module that will be asked for soon, unless its object is there already."""
    key = _key(ir_text, target)
    if key in _memory or key in _begun or os.environ.get("WENGERT_DUMP"):
        return
    from . import crew  # with all that processes need, which a start with a full cache does without

    path = _path(key, OBJECT)
    future = None if path is not None and path.exists() else crew.begin(ir_text, target)
    if future is not None:
        while len(_begun) >= _MEMORY_ENTRIES:  # nobody asked for those
            _begun.pop(next(iter(_begun))).cancel()
        _begun[key] = future


if hasattr(os, "register_at_fork"):  # whoever waits for a helper is in the other process
    os.register_at_fork(after_in_child=_begun.clear)


def _key(ir_text: str, target: Target) -> str:
    """Names the object: all that it depends on."""
    parts = (ir_text, target.triple, target.cpu, target.features, llvm.versions())
    digest = hashlib.sha256(_FORMAT)
    for part in parts:
        data = part.encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def directory() -> Path | None:
    """Where objects are kept on disk; None if nowhere."""
    if os.environ.get("WENGERT_CACHE") == "0":
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG specification says to ignore others
        return Path(base) / "wengert"
    try:
        return Path.home() / ".cache" / "wengert"
    except RuntimeError:  # a user without a home
        return None


def _path(key: str, ending: str) -> Path | None:
    kept = directory()
    return None if kept is None else kept / f"{key}{ending}"


def _limit() -> int:
    text = os.environ.get("WENGERT_CACHE_BYTES", "") or str(_DEFAULT_LIMIT)
    if not text.isdecimal():
        raise ArgumentError(message("WENGERT_CACHE_BYTES", "must be a whole number of bytes", repr(text)))
    return int(text)


def read(key: str, ending: str) -> bytes | None:
    """What a file holds, or None if there is none that is whole."""
    path = _path(key, ending)
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(_FORMAT) + _DIGEST_BYTES
    code = content[start:]
    if content[:start] != _FORMAT + hashlib.sha256(code).digest():
        return None
    with contextlib.suppress(OSError):  # a cache shared read-only is fine
        os.utime(path)  # the time of its last use, by which files are removed
    return code


def write(key: str, ending: str, code: bytes) -> None:
    """Keep something, if the disk allows it."""
    global _unmeasured
    path = _path(key, ending)
    limit = _limit()
    content = _FORMAT + hashlib.sha256(code).digest() + code
    if path is None or len(content) > limit:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(_UNFINISHED, dir=path.parent)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(unfinished, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        return
    # Measuring costs a look at each file, so it is done once in a sixteenth of the limit, and leaves that much free.
    _unmeasured += len(content)
    if _unmeasured > limit // 16:
        _prune(path.parent, limit - limit // 16)
        _unmeasured = 0


def _prune(kept: Path, limit: int) -> None:
    """Remove the files used longest ago until ``limit`` bytes are left, and what dead processes left."""
    files: list[tuple[float, int, str]] = []
    with contextlib.suppress(OSError), os.scandir(kept) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process may have removed it
                status = entry.stat()
                if entry.name.endswith((OBJECT, PROGRAM)):
                    files.append((status.st_mtime, status.st_size, entry.path))
                elif entry.name.endswith(_UNFINISHED) and status.st_mtime < time.time() - _ABANDONED_SECONDS:
                    os.unlink(entry.path)
    excess = sum(size for _, size, _ in files) - limit
    for _, size, path in sorted(files):
        if excess <= 0:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
            excess -= size
