"""``Trainer``: the training loop, with everything that a run needs to be resumed exactly."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from .. import api, tree
from ..errors import AnomalyError, ArgumentError, message
from ..nn.modes import evaluating
from ..nn.module import Module
from ..nn.regularization import ExponentialMovingAverage
from ..optim import Optimizer
from ..optim.lr_scheduler import ReduceLROnPlateau
from ..optim.schedule import plain
from ..tensor import Tensor
from . import checkpoint
from .callbacks import Callback
from .history import History
from .interrupt import Interrupts
from .lr_finder import RateSearch, search_rate
from .metrics import Metric
from .progress import Progress
from .rng import seed_everything
from .step import check_precision, compiled, make_forward, make_step, pair, samples

CHECKPOINT = "checkpoint.wg"


class Trainer:
    """Trains a model, and can be killed at any time: a resumed run gives the same numbers, bit for bit.

    Args:
        model: the module; called with a batch's inputs (a tuple: as arguments, a dict: as keywords).
        loss: ``loss(output, targets)``, a mean over the samples (or a sum, if its ``reduction`` says so).
        optimizer: of the model's parameters.
        scheduler: of the learning rate; ``ReduceLROnPlateau`` gets the validation loss, or else the training loss.
        metrics: `Metric` objects, for training and validation alike.
        accumulate: batches for each update. Their gradients are weighted by their samples, so that the update is that
            of one large batch (batch norm apart, which sees the small ones).
        clip_norm: the largest norm of the gradient.
        precision: "bfloat16" computes in bfloat16, with parameters, gradients and optimizer in float32; None
            computes in the parameters' dtype.
        ema: an `ExponentialMovingAverage` of the model, or the decay of one. Validation, `evaluate` and `predict` then
            use the averages.
        callbacks: `Callback` objects, called in order.
        compile: run the training step through ``wg.compile``.
        seed: for `seed_everything` at the start of the training. Seed before making the model as well.
        directory: where checkpoints and weights go; without it nothing is saved.
        save_every: updates between checkpoints within an epoch; one is saved after each epoch anyhow.
        scheduler_interval: "epoch" or "step": when the scheduler goes on.
        progress: whether to show progress; a `Progress` says how.

    Attributes:
        epoch, step: epochs and updates that are done.
        history: a `History`.
        should_stop: set it in a callback to end the training after the epoch.

    >>> import wengert as wg
    >>> wg.train.seed_everything(0)
    >>> x = wg.randn(64, 1)
    >>> data = wg.utils.data.DataLoader(wg.utils.data.TensorDataset(x, 3 * x), batch_size=16, shuffle=True)
    >>> model = wg.nn.Linear(1, 1)
    >>> optimizer = wg.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = wg.train.Trainer(model, wg.nn.MSELoss(), optimizer, progress=False)
    >>> history = trainer.fit(data, epochs=20)
    >>> round(model.weight.item(), 3), history["train_loss"][-1] < 1e-3
    (3.0, True)
    """

    def __init__(
        self,
        model: Module,
        loss: Any,
        optimizer: Optimizer,
        scheduler: Any = None,
        *,
        metrics: Sequence[Metric] = (),
        accumulate: int = 1,
        clip_norm: float | None = None,
        precision: Any = None,
        ema: float | ExponentialMovingAverage | None = None,
        callbacks: Sequence[Callback] = (),
        compile: bool = False,
        seed: int | None = None,
        directory: Any = None,
        save_every: int | None = None,
        scheduler_interval: str = "epoch",
        progress: bool | Progress = True,
    ) -> None:
        _check_counts(accumulate=accumulate, save_every=save_every)
        if scheduler_interval not in ("epoch", "step"):
            seen = repr(scheduler_interval)
            raise ArgumentError(message("Trainer", "scheduler_interval must be 'epoch' or 'step'", seen))
        if clip_norm is not None and not clip_norm > 0:
            raise ArgumentError(message("Trainer", "clip_norm must be positive", str(clip_norm)))
        self.model, self.loss, self.optimizer, self.scheduler = model, loss, optimizer, scheduler
        self.accumulate, self.clip_norm, self.precision = accumulate, clip_norm, check_precision(precision)
        self.compile, self.seed, self.save_every = compile, seed, save_every
        self.scheduler_interval = scheduler_interval
        self.directory = None if directory is None else Path(directory)
        self.ema = ExponentialMovingAverage(model, ema) if isinstance(ema, int | float) else ema
        self.metrics = {"train": list(metrics), "validation": copy.deepcopy(list(metrics))}
        _check_names(self.metrics["train"])
        self.callbacks: list[Callback] = list(callbacks)
        if progress:
            self.callbacks.append(progress if isinstance(progress, Progress) else Progress())
        self.history = History()
        self.epoch = self.step = self.batch = self.epochs = 0
        self.batches: int | None = None
        self.should_stop = False
        self.phase = "start"  # of the epoch: start, train, validate
        self.pending: tuple[str, list[str], list[Any]] | None = None  # event, who was called, arguments
        self.sums = {"loss": 0.0, "samples": 0}
        self.loaders: tuple[Any, Any] = (None, None)
        self.seconds = self._tick = 0.0
        self._forward = make_forward(model, self.precision)
        self._signals = Interrupts()

    # --- training -------------------------------------------------------------------------------------

    def fit(
        self, train_loader: Iterable[Any], validation_loader: Iterable[Any] | None = None, epochs: int = 1, *,
        resume: bool = False,
    ) -> History:  # fmt: skip
        """Train until so many epochs are done, all in all.

        Args:
            train_loader: gives batches ``(inputs, targets)``. A `DataLoader` is resumed where it was; of anything
                else the batches done are skipped, so it must give the same ones in each epoch.
            validation_loader: of the data for validation after each epoch.
            epochs: the number of the last epoch: a second call with a larger one goes on.
            resume: go on from the checkpoint in ``directory``, if there is one.

        Returns:
            The history of all epochs.

        Raises:
            AnomalyError: the loss is NaN or infinite. The last checkpoint is from before.
            SystemExit: after Ctrl-C (status 130) or SIGTERM (143), when the checkpoint is saved; a second Ctrl-C
                breaks off at once.
        """
        _check_counts(epochs=epochs)
        self.epochs, self.loaders = epochs, (train_loader, validation_loader)
        self._start(resume)
        step = make_step(self._forward, self.loss, self.optimizer, self.clip_norm)
        if self.compile:
            step = compiled(step, self.optimizer)
        with self._signals:
            try:
                for callback in self.callbacks:
                    callback.on_fit_start(self)
                self._loop(step)
                for callback in self.callbacks:
                    callback.on_fit_end(self)
            finally:
                for callback in self.callbacks:
                    callback.close(self)
        return self.history

    def _start(self, resume: bool) -> None:
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            for left in self.directory.glob(f".{CHECKPOINT}.*"):  # half written when a run was killed
                left.unlink()
        self.should_stop = False
        if resume:
            if self.directory is None:
                raise ArgumentError(message("Trainer", "resume=True needs a directory", cure="Trainer(directory=...)"))
            if (self.directory / CHECKPOINT).exists():
                self.load(self.directory / CHECKPOINT)
                return
        if self.step == 0 and self.seed is not None:
            seed_everything(self.seed)

    def _loop(self, step: Any) -> None:
        if self.pending is not None:
            event, _, args = self.pending
            self._emit(event, *args)
        while self.epoch < self.epochs and not self.should_stop:
            if self.phase == "start":
                self._begin_epoch()
            if self.phase == "train":
                self._train(step)
            self._end_epoch(self._validate())
            self._save_if_possible()
            self._leave_if_interrupted()

    def _begin_epoch(self) -> None:
        self.phase, self.batch, self.sums = "train", 0, {"loss": 0.0, "samples": 0}
        for metric in self.metrics["train"]:
            metric.reset()
        self.seconds = 0.0
        self._emit("on_epoch_start")

    def _train(self, step: Any) -> None:
        """The updates of an epoch, or those that are left of it."""
        loader = self.loaders[0]
        self.model.train()
        self.batches = _length(loader)
        batches = self._batches_left(loader)
        self._tick = time.perf_counter()
        while group := list(islice(batches, self.accumulate)):
            loss = self._update(step, [pair(batch) for batch in group])
            self._emit("on_step_end", loss)
            if self.save_every is not None and self.step % self.save_every == 0:
                self._save_if_possible()
            self._leave_if_interrupted()
        if not self.sums["samples"]:
            raise ArgumentError(message("Trainer", "the training loader gave no batch"))
        self.phase = "validate"

    def _batches_left(self, loader: Any) -> Iterator[Any]:
        """The batches of this epoch that have not been used."""
        if checkpoint.keeps_position(loader):
            if self.batch:  # of an epoch that a callback broke off in this very process
                loader.load_state_dict(loader.state_dict())
            return iter(loader)
        return islice(loader, self.batch, None)

    def _update(self, step: Any, group: list[tuple[Any, Any]]) -> float:
        loss, outputs = step(*[part for batch in group for part in batch])
        loss = float(loss.item())
        if not math.isfinite(loss):
            raise AnomalyError(
                message(
                    "Trainer",
                    f"the loss is not finite any more in epoch {self.epoch + 1}",
                    f"{loss} in batch {self.batch + 1}",
                    "Lower the learning rate, clip the gradient, or find the op with wg.autograd.detect_anomaly()",
                )
            )
        if self.ema is not None:
            self.ema.update()
        if self.scheduler is not None and self.scheduler_interval == "step":
            self._step_scheduler(loss)
        count = sum(samples(x) for x, _ in group)
        self._count(self.sums, loss, count)
        for (_, y), output in zip(group, outputs, strict=True):
            for metric in self.metrics["train"]:
                metric.update(output, y)
        self.step, self.batch = self.step + 1, self.batch + len(group)
        now = time.perf_counter()
        self.seconds, self._tick = self.seconds + now - self._tick, now
        return loss

    def _count(self, sums: dict[str, Any], loss: float, count: int) -> None:
        """Add a batch's loss to the sum over all samples."""
        sums["loss"] += loss if getattr(self.loss, "reduction", "mean") == "sum" else loss * count
        sums["samples"] += count

    def _step_scheduler(self, loss: float) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)
        else:
            self.scheduler.step()

    def _validate(self) -> dict[str, Any]:
        loader = self.loaders[1]
        if loader is None:
            return {}
        before = checkpoint.position(self.loaders)
        with self.averaged():
            values = self._evaluate(loader, self.metrics["validation"], interruptible=True)
        if values is None:  # interrupted: the validation will be done anew
            checkpoint.set_position(self.loaders, before)
            self._leave_if_interrupted()
            raise AssertionError("an interruption that is none")
        return {f"validation_{name}": value for name, value in values.items()}

    def _end_epoch(self, validation: dict[str, Any]) -> None:
        """Make the epoch's record, and go on to the next."""
        record = {"epoch": self.epoch + 1, "step": self.step, "lr": self.learning_rate, **self.running(), **validation}
        record |= {"seconds": self.seconds, "samples_per_second": self.samples_per_second}
        if self.scheduler is not None and self.scheduler_interval == "epoch":
            self._step_scheduler(record.get("validation_loss", record["train_loss"]))
        self.history.records.append(record)
        self.epoch, self.phase = self.epoch + 1, "start"
        self._emit("on_epoch_end", record)

    def _emit(self, event: str, *args: Any) -> None:
        """Call all callbacks, or those that a broken-off round has left. If one raises, save first."""
        called = [] if self.pending is None else self.pending[1]
        self.pending = (event, called, list(args))
        for name, callback in checkpoint.named(self.callbacks):
            if name in called:
                continue
            try:
                getattr(callback, event)(self, *args)
            except BaseException as error:
                self._save_after(error)
                raise
            called.append(name)
        self.pending = None

    def _save_after(self, error: BaseException) -> None:
        try:
            self._save_if_possible()
        except Exception as second:  # the first error matters more, whatever kept the file from being written
            error.add_note(f"The checkpoint could not be saved either: {second}")

    def _leave_if_interrupted(self) -> None:
        if self._signals.caught:
            self._save_if_possible()
            saved = (
                f"saved {self.directory / CHECKPOINT}" if self.directory else "nothing was saved, without a directory"
            )
            self._signals.leave(f"{self.epoch} epochs and {self.step} updates are done, {saved}")

    # --- using ----------------------------------------------------------------------------------------

    def evaluate(self, loader: Iterable[Any]) -> dict[str, Any]:
        """Mean loss and metrics over batches ``(inputs, targets)``, without changing anything."""
        with self.averaged():
            values = self._evaluate(loader, copy.deepcopy(self.metrics["validation"]))
        assert values is not None
        return values

    def predict(self, loader: Any) -> Any:
        """The outputs for all batches, joined along the first axis.

        Args:
            loader: gives batches, which are inputs or pairs ``(inputs, targets)``; or one tensor of inputs.
        """
        outputs = []
        with self.averaged(), evaluating(self.model):
            for batch in [loader] if isinstance(loader, Tensor) else loader:
                is_pair = isinstance(batch, list | tuple) and len(batch) == 2
                outputs.append(self._forward(batch[0] if is_pair else batch))
        if not outputs:
            raise ArgumentError(message("Trainer.predict", "the loader gave no batch"))
        return tree.map(lambda *parts: api.cat(parts), *outputs)

    def _evaluate(
        self, loader: Iterable[Any], metrics: list[Metric], interruptible: bool = False
    ) -> dict[str, Any] | None:
        sums = {"loss": 0.0, "samples": 0}
        for metric in metrics:
            metric.reset()
        with evaluating(self.model):
            for x, y in map(pair, loader):
                output = self._forward(x)
                self._count(sums, float(self.loss(output, y).item()), samples(x))
                for metric in metrics:
                    metric.update(output, y)
                if interruptible and self._signals.caught:
                    return None
        return _values(sums, metrics)

    def averaged(self) -> Any:
        """A context in which the model has its averaged weights, where there are such."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def find_lr(
        self, loader: Iterable[Any], start: float = 1e-7, end: float = 10.0, steps: int = 100, smoothing: float = 0.05
    ) -> RateSearch:
        """Search for a learning rate: train with ever larger ones, then put everything back as it was.

        Args:
            loader: of training batches; begun anew when it ends.
            start: the first rate, of the first parameter group; those of others keep their ratio to it.
            end: the last rate.
            steps: updates from the first to the last; it ends early when the mean of five losses is four times the
                lowest one so far.
            smoothing: width of the Gaussian that averages the losses, as a share of all of them.

        Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3.
        """
        return search_rate(self, loader, start, end, steps, smoothing)

    # --- what is being trained --------------------------------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """The present rate of the first parameter group."""
        return float(plain(self.optimizer.param_groups[0]["lr"]))

    @property
    def samples_per_second(self) -> float:
        """Speed of the training in this epoch."""
        return self.sums["samples"] / self.seconds if self.seconds else 0.0

    def running(self) -> dict[str, Any]:
        """Loss and metrics of the training in this epoch so far."""
        values = _values(self.sums, self.metrics["train"])
        return {f"train_{name}": value for name, value in values.items()}

    # --- saving -----------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write everything that is needed to go on to one file, atomically."""
        api.save(checkpoint.gather(self), path)

    def load(self, path: Any) -> None:
        """Go on where `save` was called, on a trainer that was made in the same way. Runs no code of the file."""
        checkpoint.restore(self, api.load(path), path)

    def _save_if_possible(self) -> None:
        if self.directory is not None:
            self.save(self.directory / CHECKPOINT)

    def save_weights(self, path: Any, metadata: Mapping[str, str] | None = None) -> None:
        """Write parameters and buffers, averaged ones where there are such, as safetensors."""
        from ..utils.safetensors import save_file

        with self.averaged():
            save_file(self.model.state_dict(), path, metadata)

    def load_weights(self, weights: Any) -> None:
        """Give the model other weights: from a safetensors file, or a state dictionary. Their average begins anew."""
        from ..utils.safetensors import load_file

        self.model.load_state_dict(weights if isinstance(weights, Mapping) else load_file(weights))
        if self.ema is not None:
            self.ema = ExponentialMovingAverage(self.model, self.ema.decay, self.ema.warmup)


def _check_counts(**counts: Any) -> None:
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ArgumentError(message("Trainer", f"{name} must be a whole number of at least 1", repr(value)))


def _check_names(metrics: list[Metric]) -> None:
    names = ["loss", *(metric.name for metric in metrics)]
    if len(set(names)) != len(names):
        raise ArgumentError(message("Trainer", "two metrics of one name", ", ".join(names), "Give one a name="))


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:  # a stream
        return None


def _values(sums: Mapping[str, Any], metrics: Sequence[Metric]) -> dict[str, Any]:
    out: dict[str, Any] = {"loss": sums["loss"] / sums["samples"] if sums["samples"] else math.nan}
    for metric in metrics:
        value = metric.compute()
        out[metric.name] = value.tolist() if hasattr(value, "tolist") else value
    return out


__all__ = ["Trainer"]
