"""What runs in a worker process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...config import set_num_threads
from .fetch import Fetcher
from .seeding import seed_all
from .transport import MAKING, discard, pack

BATCH, SKIPPED, END, ERROR = range(4)
_LOOK_FOR_PARENT = 1.0  # seconds


@dataclass
class WorkerInfo:
    """What `get_worker_info` tells: number of this worker and of all, its seed and its copy of the data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process, which one it is; None elsewhere.

    An `IterableDataset` asks for it in order to give each worker its own share: every worker
    has a whole copy of the stream.

    >>> from wengert.utils.data import get_worker_info
    >>> get_worker_info() is None
    True
    """
    return _info


@dataclass
class Setup:
    """What a worker needs to know at its start."""

    fetcher: Fetcher
    init_fn: Callable[[int], None] | None
    num_workers: int


@dataclass
class Task:
    """One batch to be read.

    ``place`` is its number in the epoch. Streams have no indices: the first task of an epoch has
    ``place`` 0, and ``skip`` says that the batch is read and thrown away.
    """

    base: int
    place: int
    indices: Any
    segment: str
    skip: bool = False


def run(setup: Setup, worker: int, base: int, tasks: Any, results: Any, parent: int, others: list[Any]) -> None:
    """Answer tasks until the other end of the pipe is closed.

    ``others`` are the parent's ends of pipes, which a fork has copied: they must not stay open here.
    """
    global _info
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it closes the pipes
    set_num_threads(1)  # as PyTorch does: the workers are the parallelism
    for end in others:
        end.close()
    waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks, waiting, parent), daemon=True).start()
    _info = WorkerInfo(worker, setup.num_workers, base + worker, setup.fetcher.dataset)
    trouble: bytes | None = None
    try:
        seed_all(base, worker)
        if setup.init_fn is not None:
            setup.init_fn(worker)
    except Exception as error:
        trouble = _failure(error, worker)
    try:
        _answer(setup.fetcher, worker, waiting, results, trouble)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the parent wants no more
    finally:
        results.close()


def _listen(tasks: Any, waiting: queue.SimpleQueue[Task | None], parent: int) -> None:
    """Empty the pipe at once, so that the parent never waits; leave when the parent is gone."""
    ours = os.getppid() == parent  # not so below a fork server
    try:
        while True:
            if tasks.poll(_LOOK_FOR_PARENT):
                waiting.put(tasks.recv())
            elif _is_gone(parent, ours):
                _leave()
    except (EOFError, OSError):
        pass
    # The parent closed the pipe, or it died: then its pipe is closed a moment before it is gone.
    while not waiting.empty():
        waiting.get()
    waiting.put(None)
    while not _is_gone(parent, ours):  # the main thread may be in a sample that takes hours
        time.sleep(_LOOK_FOR_PARENT)
    _leave()


def _leave() -> None:
    """End the process from a thread, but not between the making of a segment and its entry with the tracker."""
    MAKING.acquire()
    os._exit(1)


def _is_gone(parent: int, ours: bool) -> bool:
    above = multiprocessing.parent_process()
    return os.getppid() != parent if ours else above is not None and not above.is_alive()


def _answer(
    fetcher: Fetcher, worker: int, waiting: queue.SimpleQueue[Task | None], results: Any, trouble: bytes | None
) -> None:
    stream: Iterator[Any] | None = None
    while (task := waiting.get()) is not None:
        if trouble is None:
            try:
                if fetcher.stream:
                    seed_all(task.base, worker, task.place)
                    stream = iter(fetcher.dataset) if task.place == 0 else stream
                reply = _reply(fetcher, task, stream)
            except Exception as error:
                reply = _failure(error, worker)
        else:
            reply = trouble
        try:
            results.send_bytes(reply)
        except OSError:
            discard(task.segment)
            raise BrokenPipeError from None


def _reply(fetcher: Fetcher, task: Task, stream: Iterator[Any] | None) -> bytes:
    if stream is None:
        seed_all(task.base, task.place)
        return bytes([BATCH]) + pack(fetcher.fetch(task.indices), task.segment)
    try:
        batch = fetcher.advance(stream)
    except StopIteration:
        return bytes([END])
    return bytes([SKIPPED]) if task.skip else bytes([BATCH]) + pack(batch, task.segment)


def _failure(error: Exception, worker: int) -> bytes:
    """The error's class, where it can travel, and its traceback as text."""
    text = f"Caught {type(error).__name__} in DataLoader worker process {worker}.\nOriginal "
    text += "".join(traceback.format_exception(error)).rstrip()
    kind: type[Exception] | None = type(error)
    try:
        body = pickle.dumps((kind, text))
        pickle.loads(body)
    except Exception:  # a class that cannot travel (made inside a function, say): its text still can
        body = pickle.dumps((None, text))
    return bytes([ERROR]) + body
