"""``DataLoader``: batches of a data set, in order or shuffled, read here or by worker processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from ... import api
from ...errors import ArgumentError, WengertError, message
from ...random import Generator, default_generator
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .fetch import Fetcher
from .pool import Pool
from .sampler import BatchSampler, RandomSampler, SequentialSampler
from .seeding import seeded
from .worker import END, Setup

__all__ = ["DataLoader", "default_collate", "default_convert"]

_NO_INDEX = object()
_FIXED = {"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"}


@dataclass
class _Position:
    """Where the latest iteration stands: generators at the epoch's start, and batches given since."""

    generators: list[list[int]] = field(default_factory=list)
    batches: int = 0
    running: bool = False


class _Batches:
    """One epoch's iterator; counts what it hands out."""

    def __init__(self, source: Iterator[Any], position: _Position, length: Callable[[], int]) -> None:
        self._source, self._position, self._length = source, position, length

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self._source)
        except StopIteration:
            self._position.running = False
            raise
        self._position.batches += 1
        return batch

    def __len__(self) -> int:
        return self._length()


class DataLoader:
    """Goes through a data set batch by batch; each ``for`` loop over it is one epoch.

    Every batch is drawn under a seed of its own, made of the epoch's and of the batch's number: what
    a data set or ``collate_fn`` draws from the global generators of Wengert, NumPy and Python is the
    same for any ``num_workers``, and leaves those generators in this process untouched. The epoch's
    seed comes from ``generator``, or else from the global one. (A stream with several workers is
    shared out by `get_worker_info`, so its batches depend on their number.)

    Args:
        dataset: a `Dataset` or `IterableDataset`, or anything with ``[index]`` and ``len()``.
        batch_size: samples in a batch; None gives single samples as they are.
        shuffle: a new random order in each epoch.
        sampler: gives the order instead of ``shuffle``.
        batch_sampler: gives whole lists of indices instead.
        num_workers: processes that read samples; 0 reads them in this one. Large batches come back
            through shared memory.
        collate_fn: makes a batch of a list of samples; by default `default_collate`.
        pin_memory: no effect, batches are in the CPU's memory.
        drop_last: leave out a last batch that is smaller.
        timeout: seconds to wait for a batch of a worker; 0 waits for ever.
        worker_init_fn: called with the worker's number when it starts.
        multiprocessing_context: "fork" (default on Linux), "spawn" or "forkserver", or a context. All but
            fork need data sets and functions that can be pickled.
        generator: draws the order and seeds; by default the global one does.
        prefetch_factor: batches that each worker reads ahead; 2 unless given.
        persistent_workers: keep the workers from one epoch to the next. They keep their copy of the data set.
        pin_memory_device: no effect.
        in_order: False hands out batches of workers as they come.

    >>> import wengert as wg
    >>> from wengert.utils.data import DataLoader, TensorDataset
    >>> data = TensorDataset(wg.arange(5.0), wg.arange(5))
    >>> [inputs.tolist() for inputs, labels in DataLoader(data, batch_size=2)]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]
    >>> len(DataLoader(data, batch_size=2, drop_last=True))
    2
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, multiprocessing_context, prefetch_factor, persistent_workers)
        stream = isinstance(dataset, IterableDataset)
        _check_order(stream, batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        self.dataset, self.generator = dataset, generator
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self.multiprocessing_context, self.persistent_workers = multiprocessing_context, persistent_workers
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.drop_last = drop_last
        if sampler is None and not stream:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        elif batch_size is not None:
            BatchSampler((), batch_size, drop_last)  # for its checks
        self.batch_size, self.sampler, self.batch_sampler = batch_size, sampler, batch_sampler
        batched = batch_size is not None or batch_sampler is not None
        self.collate_fn: Callable[[Any], Any] = collate_fn or (default_collate if batched else default_convert)
        self._position = _Position()
        self._resume: _Position | None = None
        self._pool: Pool | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_pool" in self.__dict__:
            raise ArgumentError(message("DataLoader", f"{name} attribute should not be set after it is initialized"))
        object.__setattr__(self, name, value)

    # -- iteration -------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        resume, self._resume = self._resume, None
        now = default_generator.get_state()
        if resume is not None:
            _restore(self._generators(), resume.generators)
        position = _Position([_state(generator) for generator in self._generators()], running=True)
        base = int(api.randint(0, 2**62, (), generator=self.generator).item())
        order = self._order()
        if resume is not None:
            position.batches = resume.batches
            order = None if order is None else _skipped(order, resume.batches)
            default_generator.set_state(now)  # what else draws goes on where it is
        self._position = position
        batched = self.batch_size is not None or self.batch_sampler is not None
        fetcher = Fetcher(self.dataset, self.collate_fn, batched, self.batch_size, self.drop_last)
        if self.num_workers == 0:
            source = _here(fetcher, base, order, position.batches)
        else:
            source = self._by_workers(fetcher, base, order, position.batches)
        return _Batches(source, position, self.__len__)

    def _order(self) -> Iterator[Any] | None:
        """Indices, or lists of them; the first is drawn at once, so that no other draw comes between."""
        if isinstance(self.dataset, IterableDataset):
            return None
        order: Any = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        first = next(order, _NO_INDEX)
        return iter(()) if first is _NO_INDEX else chain((first,), order)

    def _by_workers(self, fetcher: Fetcher, base: int, order: Iterator[Any] | None, done: int) -> Iterator[Any]:
        pool, self._pool = self._pool, None
        if pool is None or pool.closed:
            setup = Setup(fetcher, self.worker_init_fn, self.num_workers)
            pool = Pool(setup, self.multiprocessing_context, base)
        if self.persistent_workers:
            self._pool = pool
        assert self.prefetch_factor is not None
        try:
            pool.drain(self.timeout)
            run = _Shared(pool, self.num_workers, base, order, done, self.timeout)
            pool.user = run.token
            if order is None:
                run.skip(done)
            run.fill(self.prefetch_factor)
        except BaseException:
            pool.close(0.2)
            raise
        return _answers(run, self.in_order, self.persistent_workers)

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            total = len(self.dataset)  # type: ignore[arg-type]
            if self.batch_size is None:
                return total
            return total // self.batch_size if self.drop_last else -(-total // self.batch_size)
        order: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(order)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}  # a copy has workers of its own

    # -- resuming --------------------------------------------------------------------------

    def _generators(self) -> list[Generator]:
        """All that may draw the order, the global one first."""
        inner = getattr(self.batch_sampler, "sampler", None)
        found: list[Generator] = [default_generator]
        for owner in (self, self.sampler, self.batch_sampler, inner):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, Generator) and all(generator is not other for other in found):
                found.append(generator)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Where the latest iteration stands, as plain numbers.

        A loader made in the same way goes on with the next batch after `load_state_dict`, with the
        batches that would have come. Batches before are not read again, but a stream has to run
        through them. Samplers are replayed: one that draws must do so from a `Generator` it has as
        ``generator``, or from the global one at its start. After the end of an epoch the state is that of
        the generators the loader was given; the global generator's is kept by whoever keeps the rest.

        >>> import wengert as wg
        >>> from wengert.utils.data import DataLoader
        >>> def make():
        ...     return DataLoader(range(6), 2, shuffle=True, generator=wg.Generator().manual_seed(1))
        >>> loader, other = make(), make()
        >>> batches = iter(loader)
        >>> first = next(batches)
        >>> other.load_state_dict(loader.state_dict())
        >>> [b.tolist() for b in batches] == [b.tolist() for b in other]
        True
        """
        position = self._position if self._resume is None else self._resume
        if position.running and not self.in_order and self.num_workers > 1:
            raise ArgumentError(
                message("DataLoader", "batches that come in no order cannot be resumed", "in_order=False")
            )
        running = position.running
        states = position.generators if running else [_state(generator) for generator in self._generators()]
        return {"running": running, "batches": position.batches if running else 0, "generators": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next iteration go on where `state_dict` was taken."""
        try:
            running, batches = bool(state_dict["running"]), int(state_dict["batches"])
            states = [[int(number) for number in state] for state in state_dict["generators"]]
        except (KeyError, TypeError, ValueError):
            raise ArgumentError(message("DataLoader", "not a state of a DataLoader", repr(state_dict)[:80])) from None
        generators = self._generators()
        if len(states) != len(generators):
            raise ArgumentError(
                message(
                    "DataLoader",
                    "the state is that of a loader with other generators",
                    f"{len(states)} in the state, {len(generators)} here",
                    "Make the loader in the same way as the one that was saved",
                )
            )
        self._position = _Position()
        self._resume = _Position(states, batches, True) if running else None
        if not running:
            _restore(generators[1:], states[1:])


def _state(generator: Generator) -> list[int]:
    return [generator._seed, generator._offset]


def _restore(generators: list[Generator], states: list[list[int]]) -> None:
    for generator, (seed, offset) in zip(generators, states, strict=True):
        generator._seed, generator._offset = seed, offset


def _skipped(order: Iterator[Any], count: int) -> Iterator[Any]:
    for _ in islice(order, count):
        pass
    return order


def _here(fetcher: Fetcher, base: int, order: Iterator[Any] | None, done: int) -> Iterator[Any]:
    """Batches read in this process, from number ``done`` on."""
    if order is None:
        yield from _stream_here(fetcher, base, done)
        return
    plain = fetcher.plain
    for place, indices in enumerate(order, done):
        if plain:
            batch = fetcher.fetch(indices)
        else:
            with seeded(base, place):
                batch = fetcher.fetch(indices)
        yield batch


def _stream_here(fetcher: Fetcher, base: int, done: int) -> Iterator[Any]:
    samples: Iterator[Any] | None = None
    place = 0
    while True:
        with seeded(base, 0, place):  # as the only worker would
            samples = iter(fetcher.dataset) if samples is None else samples
            try:
                batch = fetcher.advance(samples)
            except StopIteration:
                return
        place += 1
        if place > done:
            yield batch


class _Shared:
    """An epoch that is shared out to workers in turn: batch ``k`` is that of the k-th turn.

    A worker at the end of its stream leaves the turn. Answers are awaited in the same order, so
    nothing depends on which worker is quicker.
    """

    def __init__(
        self, pool: Pool, workers: int, base: int, order: Iterator[Any] | None, done: int, timeout: float
    ) -> None:
        self.pool, self.base, self.order, self.timeout = pool, base, order, timeout
        self.token = object()  # not the epoch itself: a circle of references would keep the workers alive
        self.turn = deque(range(workers))
        self.place = done  # of the next list of indices
        self.places = [0] * workers  # of the next batch of each worker's stream

    def send(self, worker: int, skip: bool = False) -> None:
        """Give a worker its next task, if there is one."""
        if self.order is None:
            self.pool.send(worker, self.base, self.places[worker], skip=skip)
            self.places[worker] += 1
            return
        indices = next(self.order, _NO_INDEX)
        if indices is not _NO_INDEX:
            self.pool.send(worker, self.base, self.place, indices)
            self.place += 1

    def fill(self, prefetch: int) -> None:
        """Give every worker so many tasks."""
        for _ in range(prefetch):
            for worker in self.turn:
                self.send(worker)

    def skip(self, batches: int) -> None:
        """Let the streams run through batches that have been given already."""
        while batches and self.turn:
            group = list(islice(self.turn, batches))
            for worker in group:
                self.send(worker, skip=True)
            for worker in group:
                self.turn.popleft()
                if self.pool.receive((worker,), self.timeout)[1] != END:
                    self.turn.append(worker)
                    batches -= 1

    def answer(self, in_order: bool) -> tuple[int, Any]:
        """The next answer: its kind and batch; kind END for a worker without tasks."""
        if in_order:
            chosen = [self.turn[0]]
        else:
            chosen = [worker for worker in self.turn if self.pool.outstanding(worker)]
        if not chosen or not self.pool.outstanding(chosen[0]):
            self.turn.clear()
            return END, None
        worker, kind, batch = self.pool.receive(chosen, self.timeout)
        self.turn.remove(worker)
        if kind != END:
            self.turn.append(worker)
            self.send(worker)
        return kind, batch


def _answers(run: _Shared, in_order: bool, persistent: bool) -> Iterator[Any]:
    pool = run.pool
    try:
        while run.turn:
            if pool.user is not run.token:
                raise WengertError(
                    message(
                        "DataLoader",
                        "a newer iteration has taken over the persistent workers",
                        cure="Finish one loop over the loader before the next, or use persistent_workers=False",
                    )
                )
            kind, batch = run.answer(in_order)
            if kind != END:
                yield batch
    except GeneratorExit:  # the loop was left; the next epoch throws away what comes late
        if not persistent:
            pool.close()
        raise
    except BaseException:
        if pool.user is run.token:
            pool.close(0.2)
        raise
    if not persistent:
        pool.close()


def _check_workers(num_workers: Any, timeout: float, context: Any, prefetch_factor: Any, persistent: bool) -> None:
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
        raise ArgumentError(message("DataLoader", "num_workers option should be non-negative", str(num_workers)))
    if timeout < 0:
        raise ArgumentError(message("DataLoader", "timeout option should be non-negative", str(timeout)))
    if prefetch_factor is not None and num_workers and prefetch_factor < 1:
        raise ArgumentError(message("DataLoader", "prefetch_factor should be positive", str(prefetch_factor)))
    given = {
        "prefetch_factor": prefetch_factor,
        "persistent_workers": persistent,
        "multiprocessing_context": context,
    }
    for name, value in given.items():
        if value and num_workers == 0:
            raise ArgumentError(message("DataLoader", f"{name} needs num_workers > 0", repr(value)))


def _check_order(
    stream: bool, batch_size: Any, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    """Raise where two arguments say different things about the order or the size of batches."""
    given = {"shuffle": shuffle, "sampler": sampler is not None, "batch_sampler": batch_sampler is not None}
    wrong = ""
    if stream and any(given.values()):
        name = next(name for name, value in given.items() if value)
        wrong = f"an IterableDataset has its own order, {name} cannot be given with it"
    elif sampler is not None and shuffle:
        wrong = "sampler option is mutually exclusive with shuffle"
    elif batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        wrong = "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
    elif batch_sampler is None and batch_size is None and drop_last:
        wrong = "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
    if wrong:
        raise ArgumentError(message("DataLoader", wrong))
