"""Train a network on handwritten digits: ``python -m wengert.demo``, or ``make demo``.

The data are scikit-learn's 1,797 scanned digits of 8 by 8 pixels, split into training, validation
and test images. The network with the lowest validation loss is kept; its accuracy on the test
images, which nothing else has seen, must reach 97 %. The loss curve and the weights are saved.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import api, nn, optim
from .errors import MissingExtra, need
from .nn import functional as F
from .serialization import write_atomically
from .tensor import Tensor
from .utils.data import DataLoader, TensorDataset

REQUIRED_ACCURACY = 0.97
BATCH_SIZE = 64
PATIENCE = 20  # epochs without a better validation loss before training stops
SPLIT_SEED = 0  # the split is always the same, whatever --seed says, so that results can be compared


@dataclass
class Digits:
    """Images (N, 64) float32 from 0 to 1, and labels (N) from 0 to 9."""

    images: Tensor
    labels: Tensor


@dataclass
class History:
    """What each epoch gave, and the weights of the best one."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best_weights: dict[str, Any] = field(default_factory=dict)


class Network(nn.Module):
    """Two hidden layers, 64-512-512-10."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(64, 512)
        self.hidden2 = nn.Linear(512, 512)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 64) to logits (N, 10)."""
        x = self.dropout(F.relu(self.hidden1(x)))
        x = self.dropout(F.relu(self.hidden2(x)))
        return self.output(x)


def load_digits(fractions: tuple[float, ...] = (0.65, 0.15, 0.2)) -> list[Digits]:
    """The images in parts of the given sizes, with the same share of each digit in every part."""
    bunch = need("sklearn.datasets", "data", "demo").load_digits()
    images, labels = (bunch.data / 16).astype(np.float32), bunch.target.astype(np.int64)
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
    pictures = np.pad(images.numpy().reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    count = len(pictures)
    start = np.where(rng.random((count, 1)) < 0.5, rng.integers(0, 3, (count, 2)), 1)
    rows, columns = (start[:, axis, None] + np.arange(8) for axis in (0, 1))
    moved = pictures[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return api.from_numpy(moved.reshape(count, 64))


def evaluate(net: nn.Module, digits: Digits) -> tuple[float, float]:
    """Mean loss and accuracy."""
    net.eval()
    with api.no_grad():
        logits = net(digits.images)
        loss = F.cross_entropy(logits, digits.labels).item()
        accuracy = (logits.argmax(dim=1) == digits.labels).to(api.float32).mean().item()
    return loss, accuracy


def train_epoch(net: nn.Module, loader: DataLoader, optimizer: optim.Optimizer, rng: np.random.Generator) -> float:
    """Go through the training images once; the mean loss."""
    net.train()
    total, count = 0.0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(shift_some(images, rng)), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        count += len(labels)
    return total / count


def train(net: nn.Module, training: Digits, validation: Digits, epochs: int, lr: float, seed: int) -> History:
    """Train until the validation loss stops falling; the net ends with its best weights."""
    generator = api.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    dataset = TensorDataset(training.images, training.labels)
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, generator=generator)
    optimizer = optim.AdamW(net.parameters(), lr=lr)
    history = History()
    for epoch in range(epochs):
        start = time.perf_counter()
        train_loss = train_epoch(net, loader, optimizer, rng)
        loss, accuracy = evaluate(net, validation)
        if not math.isfinite(train_loss) or not math.isfinite(loss):
            raise SystemExit(
                f"demo: the loss is not finite any more in epoch {epoch + 1}. Lower the learning rate: --lr"
            )
        history.train_loss.append(train_loss)
        history.validation_loss.append(loss)
        if loss <= min(history.validation_loss):
            history.best_epoch, history.best_weights = epoch, copy.deepcopy(net.state_dict())
        print(
            f"epoch {epoch + 1:3}/{epochs}  training loss {train_loss:.4f}  validation loss {loss:.4f}  "
            f"validation accuracy {accuracy:6.1%}  {time.perf_counter() - start:.2f} s",
            flush=True,
        )
        if epoch - history.best_epoch >= PATIENCE:
            print(f"no better validation loss for {PATIENCE} epochs")
            break
    net.load_state_dict(history.best_weights)
    return history


def save_weights(net: nn.Module, path: Path) -> None:
    """Write all parameters and buffers as a NumPy archive."""
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    write_atomically(path, lambda file: np.savez(file, **arrays))


def load_weights(net: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote. The file holds numbers only: reading it runs no code."""
    with np.load(path, allow_pickle=False) as archive:
        net.load_state_dict(dict(archive))


def save_curve(history: History, path: Path) -> None:
    """Draw training and validation loss over the epochs."""
    figure = need("matplotlib.figure", "plot", "demo").Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, len(history.train_loss) + 1)
    axes.semilogy(epochs, history.train_loss, label="training")
    axes.semilogy(epochs, history.validation_loss, label="validation")
    axes.axvline(history.best_epoch + 1, color="gray", linestyle=":", label="kept")
    axes.set(xlabel="epoch", ylabel="cross-entropy", title="Handwritten digits")
    axes.legend()
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def run(epochs: int, seed: int, lr: float, out: Path) -> float:
    """The whole demonstration; the accuracy on the test images."""
    need("matplotlib.figure", "plot", "demo")  # before training, so that nothing is lost at its end
    training, validation, test = load_digits()
    out.mkdir(parents=True, exist_ok=True)
    print(
        f"handwritten digits: {len(training.labels)} training, {len(validation.labels)} validation, "
        f"{len(test.labels)} test images"
    )
    api.manual_seed(seed)
    net = Network()
    print(net)
    start = time.perf_counter()
    # The matrices are small: several threads gain little, and on a busy machine wait for each other.
    with need("threadpoolctl", "data", "demo").threadpool_limits(1, user_api="blas"):
        history = train(net, training, validation, epochs, lr, seed)
        _, accuracy = evaluate(net, test)
    seconds = time.perf_counter() - start
    save_weights(net, out / "weights.npz")
    save_curve(history, out / "loss.png")
    print(
        f"trained for {seconds:.1f} s, kept epoch {history.best_epoch + 1}; "
        f"wrote {out / 'weights.npz'} and {out / 'loss.png'}"
    )
    print(f"test accuracy {accuracy:.2%}")
    return accuracy


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wengert.demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--epochs", type=int, default=80, help="at most this many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, dropout and batches (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_output"), help="folder to write to (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    if arguments.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {arguments.epochs}")
    if not 0 < arguments.lr < math.inf:
        parser.error(f"--lr must be positive and finite, got {arguments.lr}")
    if arguments.seed < 0:
        parser.error(f"--seed must not be negative, got {arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration; 0 if the network is good enough."""
    arguments = _arguments(argv)
    try:
        accuracy = run(arguments.epochs, arguments.seed, arguments.lr, arguments.out)
    except (MissingExtra, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted, nothing was saved", file=sys.stderr)
        return 130
    if accuracy < REQUIRED_ACCURACY:
        print(
            f"demo: test accuracy {accuracy:.2%} is below the required {REQUIRED_ACCURACY:.0%}. "
            "Give it more --epochs or leave --lr as it is.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
