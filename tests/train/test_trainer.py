"""The trainer does what the plain loop does, and what its arguments say."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn, optim, train
from wengert.testing.trainers import assert_equal, network, points, trainer, weights
from wengert.utils.data import DataLoader, IterableDataset, TensorDataset

Trainer = train.Trainer


# --- the loop ----------------------------------------------------------------------------------------


def test_is_the_plain_loop() -> None:
    data, other = points(), points(20, 1)
    net = network(0.3)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    train.seed_everything(3)
    losses, validation = [], []
    for _ in range(3):
        total = 0.0
        for x, y in DataLoader(data, 16, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(list(net.parameters()), 0.5)
            optimizer.step()
            total += loss.item() * len(y)
        losses.append(total / 50)
        schedule.step()
        net.eval()
        with wg.no_grad():
            parts = [(nn.functional.cross_entropy(net(x), y).item(), len(y)) for x, y in DataLoader(other, 16)]
        net.train()
        validation.append(sum(loss * n for loss, n in parts) / 20)

    ours = network(0.3)
    own = optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    runner = trainer(
        ours, optimizer=own, scheduler=optim.lr_scheduler.StepLR(own, 1, 0.5), clip_norm=0.5, seed=3,
        metrics=[train.Accuracy()],
    )  # fmt: skip
    history = runner.fit(DataLoader(data, 16, shuffle=True), DataLoader(other, 16), epochs=3)
    assert history["train_loss"] == losses
    assert history["validation_loss"] == validation
    assert history["lr"] == [0.1, 0.05, 0.025]
    assert history["step"] == [4, 8, 12]
    assert_equal(weights(ours), weights(net))
    with wg.no_grad():
        right = (net.eval()(other.tensors[0]).argmax(1) == other.tensors[1]).to(wg.float32).mean().item()
    assert history["validation_accuracy"][-1] == pytest.approx(right)
    assert runner.evaluate(DataLoader(other, 7))["accuracy"] == pytest.approx(right)
    assert runner.evaluate(DataLoader(other, 7))["loss"] == pytest.approx(validation[-1])
    for loader in (DataLoader(other, 7), DataLoader(other.tensors[0], 7), other.tensors[0]):
        assert wg.allclose(runner.predict(loader), net(other.tensors[0]))
    assert ours.training


@pytest.mark.quick(accumulate=[3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("accumulate", [2, 3, 7, 50])
def test_accumulating_equals_the_large_batch(reduction: str, accumulate: int) -> None:
    data = points()

    def run(size: int, accumulate: int) -> tuple[Any, Any]:
        net = network().double()
        loss = nn.CrossEntropyLoss(reduction=reduction)
        own = optim.SGD(net.parameters(), lr=0.1 if reduction == "mean" else 0.002, momentum=0.9)
        runner = trainer(net, loss=loss, optimizer=own, accumulate=accumulate, clip_norm=0.3)
        x, y = data.tensors
        history = runner.fit(DataLoader(TensorDataset(x.double(), y), size), epochs=3)
        return weights(net), history["train_loss"]

    small, curve = run(7, accumulate)  # 8 batches, the last with one sample
    large, curve_of_large = run(7 * accumulate, 1)
    for a, b in zip(small, large, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)
    np.testing.assert_allclose(curve, curve_of_large, rtol=1e-11)


def test_bfloat16_computes_short_and_keeps_float32() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Any) -> Any:
            seen.append(x.dtype)
            return x

    wg.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), Spy(), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2), Spy())
    outputs = []

    def loss(output: Any, target: Any) -> Any:
        outputs.append(output.dtype)
        return nn.functional.cross_entropy(output, target)

    own = optim.SGD(net.parameters(), lr=1e-4)
    runner = trainer(net, optimizer=own, loss=loss, precision="bfloat16", ema=0.5)
    before = weights(net)
    runner.fit(DataLoader(points(), 16), DataLoader(points(), 16), epochs=1)
    assert set(seen) == {wg.bfloat16}
    assert set(outputs) == {wg.float32}
    assert all(p.dtype == wg.float32 and p.grad.dtype == wg.float32 for p in net.parameters())
    assert all(x.dtype in (wg.float32, wg.int64) for x in net.state_dict().values())
    # Steps that bfloat16 would round away (its spacing near 0.3 is 0.002) are kept.
    assert 0 < np.abs(weights(net)[0] - before[0]).max() < 1e-3
    assert runner.predict(wg.ones(3, 4)).dtype == wg.float32


def test_bfloat16_with_buffers_and_statistics() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(9, 8), nn.SinusoidalPositions(8)
            self.mix, self.norm = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), nn.BatchNorm1d(8)
            self.recur, self.out = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 2)
            self.out.register_parameter("bias", None)

        def forward(self, x: Any) -> Any:
            x = self.mix(self.place(self.embed(x)))
            return self.out(self.norm(self.recur(x, wg.zeros(1, len(x), 8))[0][:, -1]))

    outputs = []
    x, y = wg.randint(0, 9, (12, 5)), wg.randint(0, 2, (12,))
    for precision in (None, "bfloat16"):
        wg.manual_seed(0)
        net = Net()
        own = optim.SGD(net.parameters(), lr=0.0)
        trainer(net, optimizer=own, precision=precision).fit([(x, y)] * 3, epochs=1)
        outputs.append(np.concatenate([net.norm.running_mean.numpy(), net.norm.running_var.numpy()]))
        assert not any(module._forward_pre_hooks for module in net.modules())
    assert outputs[1].dtype == np.float32
    assert not np.array_equal(outputs[0], outputs[1])
    np.testing.assert_allclose(outputs[1], outputs[0], atol=0.02)


@pytest.mark.slow
def test_bfloat16_learns_as_float32_does() -> None:
    losses = {}
    for precision in (None, "bfloat16"):
        runner = trainer(precision=precision, seed=0)
        losses[precision] = runner.fit(DataLoader(points(200), 20, shuffle=True), epochs=10)["train_loss"][-1]
    assert losses[None] < 0.2
    assert losses["bfloat16"] == pytest.approx(losses[None], rel=0.05)


def test_ema_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    net = network()
    average = [x.copy() for x in weights(net)]

    class Follow(train.Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            for a, x in zip(average, weights(trainer.model), strict=True):
                a += 0.2 * (x - a)

    best = train.BestCheckpoint(restore=False)
    runner = trainer(net, ema=0.8, callbacks=[Follow(), best], directory=tmp_path)
    history = runner.fit(DataLoader(points(), 16), DataLoader(points(20, 1), 16), epochs=2)
    own = copy.deepcopy(weights(net))
    other = network()
    other.load_state_dict(dict(zip(other.state_dict(), average, strict=True)))
    with wg.no_grad():
        loss = nn.functional.cross_entropy(other(points(20, 1).tensors[0]), points(20, 1).tensors[1]).item()
    assert history["validation_loss"][-1] == pytest.approx(loss, rel=1e-5)
    assert runner.evaluate(DataLoader(points(20, 1), 20))["loss"] == pytest.approx(loss, rel=1e-5)
    assert_equal(weights(net), own)  # evaluating leaves the weights
    runner.load_weights(tmp_path / "best.safetensors")
    for a, x in zip(average, weights(net), strict=True):
        np.testing.assert_allclose(x, a, rtol=1e-4, atol=1e-6)
    assert runner.evaluate(DataLoader(points(20, 1), 20))["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_inputs_of_all_kinds() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, a: Any, b: Any) -> Any:
            return {"sum": self.layer(a + b), "raw": a}

    def loss(output: Any, target: Any) -> Any:
        return nn.functional.mse_loss(output["sum"], target["y"])

    a, y = wg.randn(6, 4), {"y": wg.ones(6, 1)}
    for precision in (None, "bfloat16"):
        for x in ((a, a), [a, a], {"a": a, "b": a}):
            net = Two()
            runner = trainer(net, loss=loss, precision=precision)
            assert runner.fit([(x, y)], epochs=100)["train_loss"][-1] < 0.1
            assert runner.predict([x if isinstance(x, dict) else (x, None)])["sum"].shape == (6, 1)


def test_goes_on_to_a_later_epoch_and_streams_have_no_length() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            return iter([(x, y) for x, y in points(10)])

    runner = trainer()
    assert len(runner.fit(DataLoader(Stream(), 4), epochs=1)) == 1
    assert runner.batches is None
    assert len(runner.fit(DataLoader(Stream(), 4), epochs=3)) == 3
    assert len(runner.fit(DataLoader(Stream(), 4), epochs=3)) == 3
    assert runner.step == 9


def test_plateau_scheduler_gets_the_validation_loss() -> None:
    net = network()
    own = optim.SGD(net.parameters(), lr=1.0)
    schedule = optim.lr_scheduler.ReduceLROnPlateau(own, factor=0.1, patience=0)
    seen = []
    step = schedule.step
    schedule.step = lambda value: (seen.append(value), step(value))  # type: ignore[method-assign]
    history = trainer(net, optimizer=own, scheduler=schedule).fit(DataLoader(points(), 8), DataLoader(points(), 8), 3)
    assert seen == history["validation_loss"]


def test_works_outside_the_main_thread() -> None:
    runner = trainer()
    thread = threading.Thread(target=lambda: runner.fit(DataLoader(points(), 16), epochs=1))
    thread.start()
    thread.join()
    assert runner.epoch == 1


# --- compiling: the step is handed over as it is -------------------------------------------------------


def test_compile_takes_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compiler(step: Any) -> Any:
        def compiled(*args: Any) -> Any:
            calls.append(args)
            return step(*args)

        return compiled

    monkeypatch.setattr(wg, "compile", compiler, raising=False)
    curves = []
    for compile in (False, True):
        runner = trainer(seed=0, compile=compile, metrics=[train.Accuracy()])
        curves.append(runner.fit(DataLoader(points(), 16), epochs=2).curve())
        assert isinstance(runner.optimizer.param_groups[0]["lr"], wg.Tensor) == compile
    assert len(calls) == 8
    assert curves[0][1]["train_loss"] == pytest.approx(curves[1][1]["train_loss"], rel=1e-5)


@pytest.mark.slow
def test_compiled_training_is_the_eager_one_and_is_resumed(tmp_path: Path) -> None:
    def make(compile: bool, directory: Path | None = None) -> Trainer:
        wg.manual_seed(1)
        # No bias before the norm: its gradient is nothing but rounding, which AdamW would make steps of.
        net = nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))
        own = optim.AdamW(net.parameters(), lr=0.01)
        schedule = optim.lr_scheduler.OneCycleLR(own, 0.05, total_steps=20, cycle_momentum=False)
        return trainer(
            net, optimizer=own, scheduler=schedule, scheduler_interval="step", compile=compile, clip_norm=1.0, seed=0,
            metrics=[train.Accuracy()], directory=directory, ema=0.9,
        )  # fmt: skip

    def loader() -> DataLoader:
        return DataLoader(points(48), 16, shuffle=True)

    eager = make(False).fit(loader(), loader(), epochs=4)
    whole = make(True)
    compiled = whole.fit(loader(), loader(), epochs=4)
    for key in ("train_loss", "validation_loss", "lr"):
        np.testing.assert_allclose(compiled[key], eager[key], rtol=1e-4)
    make(True, tmp_path).fit(loader(), loader(), epochs=2)
    resumed = make(True, tmp_path)
    assert resumed.fit(loader(), loader(), epochs=4, resume=True).curve() == compiled.curve()
    assert_equal(weights(resumed.model), weights(whole.model))


def test_a_compilers_error_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiler(step: Any) -> Any:
        raise ValueError("cannot be compiled")

    monkeypatch.setattr(wg, "compile", compiler, raising=False)
    with pytest.raises(ValueError, match="cannot be compiled"):
        trainer(compile=True).fit(DataLoader(points(), 16))


# --- checkpoints -----------------------------------------------------------------------------------------


S = optim.lr_scheduler
SCHEDULES: list[Any] = [
    lambda own: S.LambdaLR(own, lambda n: 0.9**n),
    lambda own: S.MultiStepLR(own, [2, 5, 5, 9]),
    lambda own: S.CosineAnnealingWarmRestarts(own, 2),
    lambda own: S.CyclicLR(own, 0.01, 0.2, step_size_up=3),
    lambda own: S.OneCycleLR(own, 0.2, total_steps=30),
    lambda own: S.SequentialLR(own, [S.LinearLR(own, 0.1, 1, 3), S.ExponentialLR(own, 0.9)], [3]),
    lambda own: S.ReduceLROnPlateau(own, patience=0),
]


@pytest.mark.quick(schedule=SCHEDULES[:1])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_kind_of_schedule_is_resumed(schedule: Any, tmp_path: Path) -> None:
    def make() -> Trainer:
        net = network(0.2)
        own = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        return trainer(
            net, optimizer=own, scheduler=schedule(own), scheduler_interval="step", directory=tmp_path, seed=0
        )

    def loaders() -> Any:
        return DataLoader(points(), 16, shuffle=True), DataLoader(points(20, 1), 16)

    whole = make()
    curve = whole.fit(*loaders(), epochs=4).curve()
    first = make()
    first.fit(*loaders(), epochs=2)
    second = make()
    assert second.fit(*loaders(), epochs=4, resume=True).curve() == curve
    assert_equal(weights(second.model), weights(whole.model))


@pytest.mark.quick(name=["Adafactor"])
@pytest.mark.parametrize("name", ["Adam", "Adagrad", "RMSprop", "NAdam", "Adafactor", "Lion", "ASGD", "Rprop"])
def test_every_kind_of_optimizer_is_resumed(name: str, tmp_path: Path) -> None:
    def make() -> Trainer:
        net = network(0.2)
        return trainer(net, optimizer=getattr(optim, name)(net.parameters(), lr=0.01), directory=tmp_path, seed=0)

    curve = make().fit(DataLoader(points(), 16, shuffle=True), epochs=4).curve()
    make().fit(DataLoader(points(), 16, shuffle=True), epochs=2)
    assert make().fit(DataLoader(points(), 16, shuffle=True), epochs=4, resume=True).curve() == curve


def test_half_written_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.wg.12345").write_bytes(b"half")
    trainer(directory=tmp_path).fit(DataLoader(points(), 16))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.wg"]


def test_checkpoints_of_other_trainers_are_refused(tmp_path: Path) -> None:
    trainer(directory=tmp_path).fit(DataLoader(points(), 16))
    path = tmp_path / "checkpoint.wg"
    for options, words in (
        ({"ema": 0.9}, "has another average"),
        ({"metrics": [train.Accuracy()]}, "has another metrics"),
        ({"net": nn.Linear(4, 2)}, "Missing key"),
    ):
        other = trainer(**options)  # type: ignore[arg-type]
        before = weights(other.model)
        with pytest.raises(RuntimeError, match=words):
            other.load(path)
        assert_equal(weights(other.model), before)
    wg.save({"x": 1}, tmp_path / "other")
    with pytest.raises(ValueError, match="other is not a checkpoint of a Trainer"):
        trainer().load(tmp_path / "other")
    (tmp_path / "torn").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="torn is damaged"):
        trainer().load(tmp_path / "torn")


def test_loading_runs_no_code(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil").write_bytes(pickle.dumps(Evil()))
    for load in (trainer().load, trainer().load_weights):
        with pytest.raises(ValueError, match="evil is damaged"):
            load(tmp_path / "evil")
    assert not (tmp_path / "ran").exists()


# --- what goes wrong -----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_training_and_spares_the_checkpoint(tmp_path: Path) -> None:
    class Spoiling(train.Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            if trainer.step == 6:
                trainer.optimizer.param_groups[0]["lr"] = math.inf

    runner = trainer(callbacks=[Spoiling()], directory=tmp_path)
    with pytest.raises(wg.errors.AnomalyError, match=r"not finite any more in epoch 2: nan in batch 4\. Lower"):
        runner.fit(DataLoader(points(), 16), epochs=3)
    assert wg.load(tmp_path / "checkpoint.wg")["epoch"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accumulate": 0}, "accumulate must be a whole number of at least 1: 0"),
        ({"save_every": 1.5}, r"save_every must be a whole number of at least 1: 1\.5"),
        ({"clip_norm": 0}, "clip_norm must be positive"),
        ({"precision": "int8"}, "unknown precision: 'int8'"),
        ({"ema": 1.0}, r"decay must be in \[0, 1\)"),
        ({"scheduler_interval": "batch"}, "scheduler_interval must be 'epoch' or 'step'"),
        ({"metrics": [train.Accuracy(), train.Accuracy()]}, "two metrics of one name"),
    ],
)
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trainer(**options)


def test_bad_calls() -> None:
    for call, words in (
        (lambda: trainer().fit([], epochs=1), "the training loader gave no batch"),
        (lambda: trainer().fit([(wg.ones(0, 2), wg.ones(0, 1))]), "a batch without samples has no mean loss"),
        (lambda: trainer().fit([(1, 2, 3)]), r"must be a pair \(inputs, targets\): tuple of 3"),
        (lambda: trainer().fit([wg.ones(2)]), r"must be a pair \(inputs, targets\): Tensor"),
        (lambda: trainer().fit([], epochs=0), "epochs must be a whole number of at least 1"),
        (lambda: trainer().fit([], resume=True), "resume=True needs a directory"),
        (lambda: trainer().predict([]), "the loader gave no batch"),
        (lambda: train.seed_everything(-1), "the seed must be an integer from 0"),
        (lambda: train.EarlyStopping(patience=0), "patience must be at least 1"),
        (lambda: train.EarlyStopping(mode="up"), "mode must be 'min' or 'max'"),
        (lambda: train.BestCheckpoint(min_delta=-1), "min_delta must be at least 0"),
        (lambda: train.JSONLogger("x", every=0), "every must be at least 1"),
        (
            lambda: trainer(callbacks=[train.EarlyStopping()]).fit(DataLoader(points(), 16)),
            "no number 'validation_loss': it has epoch, step, lr, train_loss.* needs a validation_loader",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.slow
def test_importing_it_loads_no_optional_library() -> None:
    optional = {"tqdm", "tensorboardX", "matplotlib", "llvmlite"}
    program = f"import sys, wengert.train; print(*sorted({optional} & sys.modules.keys()))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not out.split()
