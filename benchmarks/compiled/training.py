"""Training steps: forward, backward, Adam; float32, one batch again and again."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import models, transformers, vision
from .workload import COMPILED, EAGER, INDUCTOR, JAX, LIBRARY, TORCH, Call, Weights, Workload


@dataclass(frozen=True)
class Task:
    """A network, a batch, a loss; what the libraries share."""

    name: str
    model: Callable[[Any], Any]
    batch: Callable[[np.random.Generator], Sequence[np.ndarray]]  # inputs of the model, then the target
    rate: float = 1e-3
    regression: bool = False

    def data(self) -> Sequence[np.ndarray]:
        return self.batch(np.random.default_rng(0))


def images(n: int, size: int, classes: int) -> Callable[[np.random.Generator], Sequence[np.ndarray]]:
    def batch(rng: np.random.Generator) -> Sequence[np.ndarray]:
        return rng.standard_normal((n, 3, size, size), np.float32), rng.integers(0, classes, n)

    return batch


def text(n: int, length: int, vocabulary: int) -> Callable[[np.random.Generator], Sequence[np.ndarray]]:
    def batch(rng: np.random.Generator) -> Sequence[np.ndarray]:
        tokens = rng.integers(0, vocabulary, (n, length + 1))
        return tokens[:, :-1].copy(), tokens[:, 1:].reshape(-1).copy()

    return batch


def points(rng: np.random.Generator) -> Sequence[np.ndarray]:
    x = rng.standard_normal((32, 2), np.float32)
    return x, np.sin(3 * x[:, :1]) * x[:, 1:]


def digits(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return rng.random((128, 784), np.float32), rng.integers(0, 10, 128)


def citations(rng: np.random.Generator) -> Sequence[np.ndarray]:
    """A graph of Cora's size: 10 556 directed edges and a loop at every node, rows of few words."""
    n, edges = 2708, 10556
    x = (rng.random((n, 1433)) < 0.0127).astype(np.float32)
    x /= np.maximum(x.sum(1, keepdims=True), 1)
    one, other = rng.integers(0, n, (2, edges // 2))
    loops = np.arange(n)
    source, target = np.concatenate([one, other, loops]), np.concatenate([other, one, loops])
    degree = np.bincount(target, minlength=n) ** -0.5
    norm = (degree[source] * degree[target]).astype(np.float32)[:, None]
    labelled = rng.permutation(n)[:140]
    return x, source, target, norm, labelled, rng.integers(0, 7, 140)


TASKS = {
    t.name: t
    for t in (
        Task("tiny", models.tiny, points, regression=True),
        Task("mlp", models.mlp, digits),
        Task("resnet20", models.resnet20, images(64, 32, 10), rate=1e-4),
        Task("lstm", models.lstm, text(32, 64, 65)),
        Task("nanogpt", transformers.nanogpt, text(12, 64, 65)),
        Task("gpt2", transformers.gpt2_stack, text(4, 256, 256), rate=1e-4),
        Task("resnet34", vision.resnet34, images(4, 224, 1000), rate=1e-4),
        Task("vgg19", vision.vgg19, images(4, 224, 1000), rate=1e-5),
        Task("alexnet", vision.alexnet, images(4, 224, 1000), rate=1e-5),
        Task("gcn", models.gcn, citations, rate=1e-2),
    )
}


def loaded(task: Task, lib: Any, weights: Weights) -> tuple[Any, list[Any]]:
    """The network with the given weights, and the batch, as the library's tensors; in the weights' dtype."""
    net, data = task.model(lib), task.data()
    if any(a.dtype == np.float64 for a in weights.values()):
        net = net.double()
        data = [a.astype(np.float64) if a.dtype == np.float32 else a for a in data]
    if weights:
        net.load_state_dict({name: lib.tensor(value) for name, value in weights.items()})
    return net, [lib.tensor(a) for a in data]


def torch_like_step(task: Task, contender: str, weights: Weights) -> Call:
    """Wengert's step or torch's: the same lines."""
    lib: Any = importlib.import_module(LIBRARY[contender])
    net, batch = loaded(task, lib, weights)
    F = lib.nn.functional
    criterion = F.mse_loss if task.regression else F.cross_entropy
    optimizer = lib.optim.Adam(net.parameters(), lr=task.rate)

    def loss_of(*batch: Any) -> Any:
        return criterion(net(*batch[:-1]), batch[-1])

    update = optimizer.step
    if contender == INDUCTOR:
        loss_of, update = lib.compile(loss_of), lib.compile(optimizer.step)

    def step(*batch: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        update()
        return loss

    if contender == COMPILED:
        step = lib.compile(step)
    return lambda: step(*batch)


def torch_like_inference(task: Task, contender: str, weights: Weights) -> Call:
    lib: Any = importlib.import_module(LIBRARY[contender])
    net, batch = loaded(task, lib, weights)
    net.eval()
    run = lib.compile(net) if contender in (COMPILED, INDUCTOR) else net

    def infer() -> Any:
        with lib.no_grad():
            return run(*batch[:-1])

    return infer


def build_step(name: str) -> Callable[[str, Weights, bool], Call]:
    def build(contender: str, weights: Weights, quick: bool) -> Call:
        if contender == JAX:
            from .jax_models import step

            return step(TASKS[name], weights)
        return torch_like_step(TASKS[name], contender, weights)

    return build


def build_inference(name: str) -> Callable[[str, Weights, bool], Call]:
    return lambda contender, weights, quick: torch_like_inference(TASKS[name], contender, weights)


def training(name: str, title: str, bar: float, goal: float, **options: Any) -> Workload:
    return Workload(
        name, title, "train", build_step(name), bar=bar, goal=goal, weights=TASKS[name].model,
        **{"curve": 20, **options},
    )  # fmt: skip


def inference(name: str, title: str) -> Workload:
    return Workload(
        f"{name}-infer", title, "train", build_inference(name), (EAGER, COMPILED, TORCH, INDUCTOR), 1.0, 1.2,
        weights=TASKS[name].model,
    )  # fmt: skip


WORKLOADS = [
    training("tiny", "tiny MLP 2-16-16-1 tanh, batch 32", 20, 40, eager_bar=0.8, first=0.3),
    training("mlp", "MLP 784-512-256-10, batch 128", 1.2, 1.4, first=0.6),
    training("resnet20", "ResNet-20, 32×32, batch 64", 1.3, 1.6, first=4),
    training("lstm", "LSTM of characters, 128/256, 32 × 64 steps", 1.05, 1.3),
    training("nanogpt", "nanoGPT for CPU, batch 12 × 64", 1.3, 1.6, first=4),
    training("gpt2", "2 blocks of GPT-2 small, batch 4 × 256", 1.1, 1.25, curve=5),
    training("gcn", "GCN, 2 708 nodes, 10 556 edges", 1.5, 3),
    training("resnet34", "ResNet-34, 224×224, batch 4", 1.0, 1.2, first=8, curve=3),
    training("vgg19", "VGG-19, 224×224, batch 4", 1.0, 1.2, curve=2),
    training("alexnet", "AlexNet, 224×224, batch 4", 1.0, 1.2, curve=3),
    inference("resnet34", "ResNet-34, inference"),
    inference("vgg19", "VGG-19, inference"),
    inference("alexnet", "AlexNet, inference"),
]
