"""Worker processes of the loader: same batches, clean ends, errors that say what happened."""

from __future__ import annotations

import errno
import gc
import json
import multiprocessing
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import wengert as wg
from wengert.data import BucketBatchSampler
from wengert.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
    transport,
)

pytestmark = pytest.mark.slow


def children() -> int:
    return len(multiprocessing.active_children())


def segments() -> list[str]:
    """Shared memory of this process; others run their own tests."""
    folder = Path("/dev/shm")
    pattern = f"wg{os.getpid():x}_*"
    return sorted(path.name for path in folder.glob(pattern)) if folder.is_dir() else []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    gc.collect()
    before = children(), segments()
    yield
    gc.collect()  # tracebacks hold loaders with persistent workers
    assert (children(), segments()) == before


class Noisy(Dataset):
    """Samples with noise of all three global generators; large ones go through shared memory."""

    def __init__(self, size: int = 10, width: int = 3) -> None:
        self.size, self.width = size, width

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "index": index,
            "wengert": wg.randn(self.width),
            "numpy": np.random.rand(self.width).astype(np.float32),
            "python": random.random(),
            "text": str(index),
        }


class Counting(IterableDataset):
    """Numbers with noise, shared out among the workers; the first has more than the others."""

    def __init__(self, size: int = 11) -> None:
        self.size = size

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        for number in range(first, self.size, step):
            yield number, random.random(), wg.rand(()).item(), np.random.rand()


def flat(batches: Any) -> list[Any]:
    """Batches as nested lists, to be compared."""
    return [wg.tree.map(lambda x: x.tolist(), batch) if not isinstance(batch, dict) else
            {k: v.tolist() if wg.is_tensor(v) else v for k, v in batch.items()} for batch in batches]  # fmt: skip


def epochs(dataset: Any, number: int = 2, **arguments: Any) -> list[Any]:
    wg.manual_seed(5)
    loader = DataLoader(dataset, **arguments)
    return [flat(loader) for _ in range(number)]


@pytest.mark.parametrize("width", [3, 9000])
@pytest.mark.parametrize("persistent", [False, True])
def test_batches_are_those_without_workers(width: int, persistent: bool) -> None:
    common = {"batch_size": 3, "shuffle": True}
    plain = epochs(Noisy(width=width), **common)
    assert plain[0] != plain[1]
    for workers in (1, 3):
        seen = epochs(Noisy(width=width), num_workers=workers, persistent_workers=persistent, **common)
        assert seen == plain


@pytest.mark.parametrize("seed", [None, 3])
def test_the_global_generators_are_left_alone(seed: int | None) -> None:
    def after(workers: int) -> Any:
        wg.manual_seed(1), np.random.seed(1), random.seed(1)
        own = None if seed is None else wg.Generator().manual_seed(seed)
        list(DataLoader(Noisy(), batch_size=4, shuffle=True, generator=own, num_workers=workers))
        return wg.rand(3).tolist(), np.random.rand(), random.random()

    assert after(0) == after(2)


def test_other_forms_of_batches() -> None:
    for arguments in ({"batch_size": None}, {"batch_sampler": [[3, 1], [0]]}, {"batch_size": 4, "drop_last": True}):
        assert epochs(Noisy(), num_workers=2, prefetch_factor=1, **arguments) == epochs(Noisy(), **arguments)
    tensors = TensorDataset(wg.arange(7), wg.randn(7, 20000))
    for ours, theirs in zip(
        DataLoader(tensors, 2), DataLoader(tensors, 2, num_workers=2, pin_memory=True), strict=True
    ):
        assert all(wg.equal(x, y) for x, y in zip(ours, theirs, strict=True))
        theirs[1].add_(1)  # its own memory
    assert list(DataLoader([], num_workers=2)) == []
    loader = DataLoader(Noisy(), batch_size=3, num_workers=1)
    assert len(loader) == len(iter(loader)) == 4


def kinds(samples: list[int]) -> Any:
    words = np.arange(40000, dtype=np.float32)
    return {
        "bfloat16": wg.ones(30000, dtype=wg.bfloat16),
        "array": words.astype(ml_dtypes.bfloat16),
        "strided": words[::2],
        "turned": words.reshape(200, 200).T,
        "empty": np.empty((0, 3)),
        "leaf": wg.ones(3, requires_grad=True),
        "scalar": wg.tensor(2.5),
        "complex": wg.ones(5, dtype=wg.complex64),
        "text": "x" * 100_000,
        "numbers": samples,
    }


def test_every_kind_of_value_arrives() -> None:
    (seen,) = DataLoader([1, 2], batch_size=2, collate_fn=kinds, num_workers=1)
    expected = kinds([1, 2])
    assert list(seen) == list(expected)
    for name, value in expected.items():
        assert type(seen[name]) is type(value)
        if isinstance(value, str | list):
            assert seen[name] == value
        else:
            assert seen[name].dtype == value.dtype
            assert np.array_equal(np.asarray(seen[name].tolist()), np.asarray(value.tolist()))
    assert seen["leaf"].requires_grad and not seen["bfloat16"].requires_grad
    assert seen["strided"].flags.writeable


class Large(Noisy):
    def __getitem__(self, index: int) -> Any:
        return np.full((2, 150_000), index, np.float32), np.arange(9000), index


def overwritten(images: Any) -> float:
    return images.fill_(7).sum().item()


def test_large_arrays_are_taken_over() -> None:
    """They are this process's own all the same, however many are kept, and whatever else is kept."""
    batches = list(DataLoader(Large(80), batch_size=1, num_workers=2))
    mapped = len(transport._mappings)
    assert (mapped == transport.MOST_MAPPED) == (sys.platform == "linux")
    for index, (images, row, number) in enumerate(batches):
        assert images.unique().tolist() == [index] and row[0, -1] == 8999 and number.item() == index
    images = batches[0][0]
    images.add_(5)
    assert images.unique().tolist() == [5] and batches[1][0].unique().tolist() == [1]
    assert list(DataLoader([images], batch_size=None, num_workers=1, collate_fn=overwritten)) == [7 * 300_000]
    assert images.unique().tolist() == [5]  # what the worker wrote is the worker's
    rows = [row for _, row, _ in batches]
    del batches, images
    gc.collect()
    assert len(transport._mappings) == 0 and len(rows) == 80
    (tensor,) = DataLoader([1], num_workers=1, collate_fn=lambda _: wg.zeros(2**19, requires_grad=True))
    (tensor * 2).sum().backward()
    assert tensor.grad is not None and tensor.grad.unique().tolist() == [2]


def test_without_room_in_shared_memory_pipes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transport, "SHELF", "/dev/shm")
    monkeypatch.setattr(transport, "_reserve", full)
    batch = {"images": np.arange(100_000), "text": "x"}
    words = r"no room in shared memory: 0\.8 MB: No space left on device\. Batches go through pipes.*enlarge /dev/shm"
    with pytest.warns(UserWarning, match=words):
        seen = transport.unpack(transport.pack(batch, f"wg{os.getpid():x}_full"))
    assert seen["text"] == "x" and np.array_equal(seen["images"], batch["images"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = list(DataLoader(Large(3), num_workers=1, multiprocessing_context="fork"))
    assert [images.unique().tolist() for images, _, _ in batches] == [[0], [1], [2]]


def test_streams() -> None:
    alone = epochs(Counting(), batch_size=2)
    assert [batch[0] for batch in alone[0]] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]
    for persistent in (False, True):
        assert epochs(Counting(), batch_size=2, num_workers=1, persistent_workers=persistent) == alone
        three = epochs(Counting(), batch_size=2, num_workers=3, persistent_workers=persistent)
        assert [batch[0] for batch in three[1]] == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8]]
    dropped = epochs(Counting(), batch_size=2, num_workers=3, drop_last=True)
    assert len(dropped[0]) == 5
    assert sorted(DataLoader(Counting(5), None, num_workers=2, collate_fn=list), key=lambda row: row[0])[4][0] == 4


def test_the_worker_knows_itself() -> None:
    class Asked(Noisy):
        def __getitem__(self, index: int) -> Any:
            info = get_worker_info()
            assert info is not None and info.dataset is self
            return info.id, info.num_workers, info.seed, self.started, os.getpid()

        started = -1

    def start(worker: int) -> None:
        info = get_worker_info()
        assert info is not None and info.id == worker
        info.dataset.started = worker + 100

    rows = [batch[0] for batch in DataLoader(Asked(6), 1, num_workers=2, worker_init_fn=start, collate_fn=list)]
    assert [row[0] for row in rows] == [0, 1] * 3
    assert [row[3] for row in rows] == [100, 101] * 3
    assert rows[1][2] == rows[0][2] + 1
    assert len({row[4] for row in rows}) == 2 and os.getpid() not in {row[4] for row in rows}
    assert get_worker_info() is None


def test_persistent_workers_stay() -> None:
    loader = DataLoader([0] * 4, num_workers=2, persistent_workers=True, collate_fn=lambda _: os.getpid())
    first = set(loader)
    assert children() == 2
    for _ in loader:
        break
    assert set(loader) == first
    old = iter(loader)
    next(old)
    assert set(loader) == first
    with pytest.raises(RuntimeError, match="a newer iteration has taken over the persistent workers"):
        next(old)
    assert set(loader) == first
    del loader, old
    assert children() == 0


def test_order_may_be_given_up() -> None:
    late = multiprocessing.get_context("fork").Event()

    class Uneven(Noisy):
        def __getitem__(self, index: int) -> int:
            if index == 0:
                assert late.wait(60)
            elif index == 3:  # the other worker has sent 1
                late.set()
            return index

    loader = DataLoader(Uneven(6), num_workers=2, in_order=False, multiprocessing_context="fork")
    seen = [int(batch) for batch in loader]
    assert sorted(seen) == list(range(6))  # 0 comes late, unless the parent looks late as well
    batches = iter(loader)
    next(batches)
    with pytest.raises(ValueError, match="batches that come in no order cannot be resumed"):
        loader.state_dict()


# --- resuming ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_resume_in_the_middle(workers: int, own: bool, stream: bool) -> None:
    def make() -> DataLoader:
        generator = wg.Generator().manual_seed(2) if own else None
        source = {"dataset": Counting()} if stream else {"dataset": Noisy(), "shuffle": True}
        return DataLoader(batch_size=2, num_workers=workers, generator=generator, **source)

    wg.manual_seed(8)
    loader = make()
    list(loader)
    batches = iter(loader)
    next(batches), next(batches), wg.rand(3), next(batches)
    state, rng = loader.state_dict(), wg.get_rng_state()
    rest = flat(batches), flat(loader), wg.rand(2).tolist()
    assert all(type(number) is int for pair in state["generators"] for number in pair)

    wg.manual_seed(1234)
    again = make()
    again.load_state_dict(state)
    assert again.state_dict() == state
    wg.set_rng_state(rng)
    assert (flat(again), flat(again), wg.rand(2).tolist()) == rest


@pytest.mark.parametrize("kind", ["shuffled", "weighted", "buckets"])
@pytest.mark.parametrize(("before", "after"), [(0, 2), (3, 1), (2, 0)])
def test_resume_with_other_workers(kind: str, before: int, after: int) -> None:
    """An epoch that is left, then one that is cut; what is saved has gone through a file."""

    def make(workers: int) -> DataLoader:
        own = wg.Generator().manual_seed(2)
        order = {
            "shuffled": {"shuffle": True, "generator": own, "batch_size": 3},
            "weighted": {"sampler": WeightedRandomSampler(range(1, 11), 14, generator=own), "batch_size": 3},
            "buckets": {"batch_sampler": BucketBatchSampler([3, 1, 2] * 3, 2, pool=2, generator=own)},
        }[kind]
        return DataLoader(Noisy(), num_workers=workers, persistent_workers=workers > 1, **order)

    loader = make(before)
    for _ in loader:
        break
    batches = iter(loader)
    next(batches), next(batches)
    state, rng = json.loads(json.dumps(loader.state_dict())), wg.get_rng_state()
    rest = flat(batches), flat(loader)
    again = make(after)
    again.load_state_dict(state)
    wg.set_rng_state(rng)
    assert (flat(again), flat(again)) == rest
    del batches, loader, again


def test_resume_between_epochs() -> None:
    loader, other = (DataLoader(range(9), shuffle=True, generator=wg.Generator().manual_seed(3)) for _ in "ab")
    list(loader)
    other.load_state_dict(loader.state_dict())
    assert flat(other) == flat(loader)
    for _ in loader:
        state = loader.state_dict()
    assert state["batches"] == 9
    other.load_state_dict(state)
    assert flat(other) == []
    assert flat(other) == flat(loader)


def test_a_wrong_state_is_refused() -> None:
    loader = DataLoader([1])
    with pytest.raises(ValueError, match="not a state of a DataLoader"):
        loader.load_state_dict({"batches": 3})
    with pytest.raises(ValueError, match="a loader with other generators: 2 in the state, 1 here"):
        loader.load_state_dict({"running": False, "batches": 0, "generators": [[0, 0], [0, 0]]})


# --- trouble -------------------------------------------------------------------------------------------


class OddError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (KeyError("no such file"), KeyError),
        (ValueError("no such file"), ValueError),
        (OddError(1, 2), RuntimeError),
        (StopIteration("no such file"), RuntimeError),
        (type("Local", (Exception,), {})("no such file"), RuntimeError),
    ],
)
@pytest.mark.parametrize("persistent", [False, True])
def test_an_error_shows_the_workers_traceback(raised: Exception, seen: type[Exception], persistent: bool) -> None:
    class Broken(Noisy):
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise raised
            return index

    loader = DataLoader(Broken(), num_workers=2, persistent_workers=persistent)
    batches = iter(loader)
    assert [int(next(batches)) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(seen) as caught:
        next(batches)
    text = str(caught.value)
    assert f"Caught {type(raised).__name__} in DataLoader worker process 1.\nOriginal Traceback" in text
    assert "in __getitem__\n    raise raised" in text
    assert int(next(iter(loader))) == 0


def test_an_error_at_a_workers_start_and_in_a_stream() -> None:
    def fail(worker: int) -> None:
        raise OSError(f"no disk for {worker}")

    with pytest.raises(OSError, match=r"in fail\n[^$]*no disk for 0"):
        list(DataLoader([1, 2], num_workers=2, worker_init_fn=fail))

    class Broken(IterableDataset):
        def __iter__(self) -> Iterator[int]:
            yield 1
            raise ZeroDivisionError("stream")

    batches = iter(DataLoader(Broken(), num_workers=1))
    assert int(next(batches)) == 1
    with pytest.raises(ZeroDivisionError, match="stream"):
        next(batches)


def test_a_tensor_with_a_history_cannot_leave() -> None:
    loader = DataLoader([1], num_workers=1, collate_fn=lambda _: wg.ones(2, requires_grad=True) * 2)
    with pytest.raises(RuntimeError, match="only leaves can leave a worker process"):
        list(loader)


class Slow(Noisy):
    def __getitem__(self, index: int) -> Any:
        if index:
            time.sleep(3600)  # who waits for it does not end
        return np.full(20000, os.getpid())


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_is_noticed_at_once(end: signal.Signals) -> None:
    batches = iter(DataLoader(Slow(), num_workers=2))
    victim = int(next(batches)[0, 0])
    os.kill(victim, end)
    with pytest.raises(
        RuntimeError, match=rf"DataLoader worker \(pid\(s\) {victim}\) exited unexpectedly.*killed by {end.name}"
    ):
        next(batches)


def test_a_worker_killed_between_epochs_is_noticed_and_replaced() -> None:
    loader = DataLoader(Noisy(), num_workers=2, persistent_workers=True, collate_fn=lambda _: os.getpid())
    pids = set(loader)
    victim = multiprocessing.active_children()[0]
    assert victim.pid is not None and victim.pid in pids
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    with pytest.raises(RuntimeError, match=rf"exited unexpectedly: pid {victim.pid} was killed by SIGKILL"):
        list(loader)
    assert children() == 0
    assert len(set(loader)) == 2 and pids.isdisjoint(loader)
    del loader


def test_a_worker_that_leaves_is_noticed() -> None:
    with pytest.raises(RuntimeError, match=r"exited unexpectedly: pid \d+ left with exit code 7"):
        list(DataLoader([1], num_workers=1, collate_fn=lambda _: os._exit(7)))


def test_timeout() -> None:
    loader = DataLoader([1], num_workers=1, timeout=0.2, collate_fn=lambda _: time.sleep(60))
    with pytest.raises(RuntimeError, match=r"timed out: no batch within 0\.2 seconds"):
        next(iter(loader))


def test_a_loop_that_is_left_leaves_nothing() -> None:
    for _ in DataLoader(Noisy(width=20000), num_workers=2, prefetch_factor=3):
        break
    assert children() == 0
    iter(DataLoader(Noisy(width=20000), num_workers=2))
    assert children() == 0
    with pytest.raises(ValueError, match="multiprocessing_context is not a way to start processes here: 'thread'"):
        iter(DataLoader([1], num_workers=1, multiprocessing_context="thread"))
