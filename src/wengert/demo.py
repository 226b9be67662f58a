"""Train a convolutional network on handwritten digits: ``python -m wengert.demo``, or ``make demo``.

The data are scikit-learn's 1,797 scanned digits of 8 by 8 pixels, split into training, validation
and test images. The network with the lowest validation loss is kept; its accuracy on the test
images, which nothing else has seen, must reach 98.5 %. The loss curve and the weights are saved.
Interrupted with Ctrl-C (or killed), the training goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import api, nn, optim
from .compiler import compile
from .errors import AnomalyError, MissingExtra, need
from .tensor import Tensor
from .train import Accuracy, BestCheckpoint, EarlyStopping, Progress, Trainer, seed_everything
from .utils.data import DataLoader, TensorDataset, default_collate

REQUIRED_ACCURACY = 0.985
BATCH_SIZE = 64
PATIENCE = 10  # epochs without a better validation loss before training stops
SPLIT_SEED = 0  # the split is always the same, whatever --seed says, so that results can be compared
WEIGHTS = "weights.safetensors"


@dataclass
class Digits:
    """Images (N, 1, 8, 8) float32 from 0 to 1, and labels (N) from 0 to 9."""

    images: Tensor
    labels: Tensor

    def loader(self, **options: Any) -> DataLoader:
        """Batches of images and labels."""
        return DataLoader(TensorDataset(self.images, self.labels), **options)


class Network(nn.Sequential):
    """Four convolutions of 3 by 3 with batch norm, 32 to 64 channels; then a linear layer."""

    def __init__(self, width: int = 32) -> None:
        super().__init__(
            *_convolution(1, width),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(2 * width * 2 * 2, 10),
        )


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def load_digits(fractions: tuple[float, ...] = (0.65, 0.15, 0.2)) -> list[Digits]:
    """The images in parts of the given sizes, with the same share of each digit in every part."""
    bunch = need("sklearn.datasets", "data", "demo").load_digits()
    images, labels = (bunch.images / 16).astype(np.float32)[:, None], bunch.target.astype(np.int64)
    rng = np.random.default_rng(SPLIT_SEED)
    parts: list[list[Any]] = [[] for _ in fractions]
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        ends = np.round(np.cumsum(fractions) * len(members)).astype(int)[:-1]
        for part, chunk in zip(parts, np.split(members, ends), strict=True):
            part.append(chunk)
    rows = [np.concatenate(part) for part in parts]
    return [Digits(api.from_numpy(images[r]), api.from_numpy(labels[r])) for r in rows]


def shift_some(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Move half of the images by up to one pixel each way, so that position matters less."""
    pictures = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    count = len(pictures)
    start = np.where(rng.random((count, 1)) < 0.5, rng.integers(0, 3, (count, 2)), 1)
    rows, columns = (start[:, axis, None] + np.arange(8) for axis in (0, 1))
    moved = pictures[np.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    return api.from_numpy(moved[:, None])


def augmented(samples: list[Any]) -> list[Any]:
    """A batch of shifted images. The loader seeds each batch, so that a resumed run draws the same."""
    images, labels = default_collate(samples)
    return [shift_some(images, np.random.default_rng(np.random.randint(1 << 31))), labels]


def train(training: Digits, validation: Digits, epochs: int, seed: int, lr: float, out: Path, resume: bool) -> Trainer:
    """Train until the validation loss stops falling; the net ends with its best weights."""
    seed_everything(seed)
    net = Network()
    print(net)
    optimizer = optim.AdamW(net.parameters(), lr=lr)
    stopping, best = EarlyStopping(patience=PATIENCE), BestCheckpoint(filename=WEIGHTS)
    trainer = Trainer(
        net,
        nn.CrossEntropyLoss(),
        optimizer,
        optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
        metrics=[Accuracy()],
        ema=nn.ExponentialMovingAverage(net, 0.98, warmup=True),
        callbacks=[stopping, best],
        compile=True,
        directory=out,
        progress=Progress("images", every=5.0),
    )
    try:
        trainer.fit(
            training.loader(batch_size=BATCH_SIZE, shuffle=True, collate_fn=augmented, drop_last=True),
            validation.loader(batch_size=len(validation.labels)),
            epochs,
            resume=resume,
        )
    except AnomalyError as error:
        raise SystemExit(f"demo: {error}\nThe learning rate is set with --lr") from None
    if stopping.stopped:
        print(f"no better validation loss for {PATIENCE} epochs")
    print(f"kept epoch {best.best_epoch}")
    return trainer


def speeds(images: Tensor, labels: Tensor, rounds: int = 10) -> tuple[float, float]:
    """Images a second of a training step, compiled and eager: the best of some rounds of each, in turns."""
    steps: list[Callable[[], Any]] = []
    for compiled in (True, False):
        net = Network()
        optimizer = optim.AdamW(net.parameters())

        def step(x: Tensor, y: Tensor, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run_step = compile(step) if compiled else step
        steps.append(lambda run_step=run_step: run_step(images, labels))
    for one in steps:
        one()
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for taken, one in zip(times, steps, strict=True):
            start = time.perf_counter()
            one()
            taken.append(time.perf_counter() - start)
    return len(labels) / min(times[0]), len(labels) / min(times[1])


def run(epochs: int, seed: int, lr: float, out: Path, resume: bool = False) -> float:
    """The whole demonstration; the accuracy on the test images."""
    need("matplotlib.figure", "plot", "demo")  # before training, so that nothing is lost at its end
    training, validation, test = load_digits()
    print(
        f"handwritten digits: {len(training.labels)} training, {len(validation.labels)} validation, "
        f"{len(test.labels)} test images"
    )
    start = time.perf_counter()
    # The matrices are small: several threads gain little, and on a busy machine wait for each other.
    with need("threadpoolctl", "data", "demo").threadpool_limits(1, user_api="blas"):
        trainer = train(training, validation, epochs, seed, lr, out, resume)
        accuracy = trainer.evaluate(test.loader(batch_size=len(test.labels)))["accuracy"]
    seconds = time.perf_counter() - start
    compiled, eager = speeds(training.images[:BATCH_SIZE], training.labels[:BATCH_SIZE])
    print(f"a training step: {compiled:,.0f} images/s compiled, {eager:,.0f} images/s eager, {compiled / eager:.1f} x")
    trainer.history.plot(out / "loss.png", title="Handwritten digits")
    print(f"trained for {seconds:.1f} s; wrote {out / WEIGHTS} and {out / 'loss.png'}")
    print(f"test accuracy {accuracy:.2%}")
    return accuracy


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wengert.demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--epochs", type=int, default=20, help="at most this many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, dropout and batches (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_output"), help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted training was saved")
    arguments = parser.parse_args(argv)
    if arguments.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {arguments.epochs}")
    if not 0 < arguments.lr < math.inf:
        parser.error(f"--lr must be positive and finite, got {arguments.lr}")
    if not 0 <= arguments.seed < 1 << 32:
        parser.error(f"--seed must be from 0 to 2**32 - 1, got {arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration; 0 if the network is good enough."""
    arguments = _arguments(argv)
    try:
        accuracy = run(arguments.epochs, arguments.seed, arguments.lr, arguments.out, arguments.resume)
    except (MissingExtra, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    if accuracy < REQUIRED_ACCURACY:
        print(
            f"demo: test accuracy {accuracy:.2%} is below the required {REQUIRED_ACCURACY:.1%}. "
            "Give it more --epochs or leave --lr as it is.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
